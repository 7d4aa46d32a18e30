"""Re-ranking: find candidates of each source, and take the one that is nearest to all of them.

This is minimum Bayes risk decoding: the candidates stand for what the model holds likely, and nearness to them is the
expected score (Eikema and Aziz 2020, https://arxiv.org/abs/2005.10283; Bertsch et al. 2023,
https://arxiv.org/abs/2310.01387).

Shapes: B sources, S tokens of the longest, C candidates of a source, L tokens of the longest candidate.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bart.configuration.configuration_bart import BartConfig
from bart.errors import InputError
from bart.generation.arguments import OF_SAMPLING, check_call
from bart.generation.cuda_graphs import CudaGraphCache
from bart.generation.sampling import draw_by_inversion
from bart.modeling.modeling_bart import BartForConditionalGeneration

from ..cli.rerank_args import RerankSettings
from .consensus import ConsensusChooser
from .unicode_words import RougeTokenizer

# Samples of all sources together that are drawn at once on a CPU: 16 samples of 64 sources take 1.4 times as long as
# four times 4. On a GPU as many of each source as there are beams, for which there is memory.
_SAMPLED_ROWS = 256


class Reranker:
    """Finds the candidates of batches of sources, and chooses among them.

    The candidates of a source begin with those of the beam search, best first; samples follow.
    """

    def __init__(
        self,
        config: BartConfig,
        search: Mapping[str, Any],
        settings: RerankSettings,
        keep_plain: bool = False,
        tokenizer: RougeTokenizer = "ascii",
    ) -> None:
        """Check the settings, and decide how to search.

        Args:
            config: of the model.
            search: the plain search: settings that differ from the configuration. Those of sampling are for samples.
            settings: of the re-ranking.
            keep_plain: search for what the plain search finds even if no beam is a candidate.
            tokenizer: of the ROUGE that is the utility.

        Raises:
            InputError: a setting is impossible, or contradicts re-ranking.
        """
        samples = settings.rerank_samples
        if "temperature" in search:
            raise InputError(f"--temperature {search['temperature']}: give --rerank_temperature instead")
        plain = {name: value for name, value in search.items() if not samples or name not in OF_SAMPLING}
        self.plain_settings = resolved = check_call(config, plain)
        settings.check_search(resolved.num_beams, resolved.num_return_sequences, resolved.do_sample)

        self._beams = settings.beams_of(resolved.num_beams)
        self._searched = max(self._beams, 1 if keep_plain else 0)
        self._samples, self._num_beams = samples, resolved.num_beams
        self._plain = {**plain, "num_return_sequences": max(1, self._searched)}
        self._sampling = {
            **search,
            **{"num_beams": 1, "num_beam_groups": 1, "diversity_penalty": 0.0},
            **{"do_sample": True, "temperature": settings.rerank_temperature},
        }
        check_call(config, self._sampling)
        self._chooser = ConsensusChooser(settings.rerank_utility, tokenizer)
        utility = settings.rerank_utility
        self.has_named_utility = isinstance(utility, str)
        self.facts: dict[str, Any] = {
            "method": settings.rerank,
            "utility": utility if isinstance(utility, str) else _function_text(utility),
            **({} if tokenizer == "ascii" or callable(utility) else {"tokenizer": tokenizer}),
            "beams": self._beams,
            "samples": samples,
            **({"temperature": settings.rerank_temperature} if samples else {}),
        }

    @property
    def draws(self) -> bool:
        """Whether any candidate is drawn at random."""
        return self._samples > 0

    def find_candidates(
        self,
        model: BartForConditionalGeneration,
        input_ids: Tensor,
        attention_mask: Tensor,
        *,
        is_padded: bool,
        graphs: CudaGraphCache,
    ) -> Tensor:
        """Search for the candidates of a batch of sources (B, S), encoded once.

        Returns:
            Token ids (B * C, L), those of a source together, padded on the right.
        """
        device = input_ids.device
        with torch.no_grad(), torch.cuda.device(device) if device.type == "cuda" else nullcontext():
            states = model.get_encoder()(input_ids, attention_mask if is_padded else None)  # (B, S, D)

        sources = {"attention_mask": attention_mask, "encoder_outputs": states, "is_padded": is_padded}
        parts = []  # (B, candidates, tokens)
        for search in self._searches(len(input_ids), device):
            found = model.generate(input_ids, **sources, graphs=graphs, **search)
            assert isinstance(found, Tensor)
            parts.append(found.view(len(input_ids), -1, found.size(1)))
        longest, pad = max(part.size(2) for part in parts), model.config.pad_token_id
        padded = [F.pad(part, (0, longest - part.size(2)), value=pad) for part in parts]
        return torch.cat(padded, 1).flatten(0, 1)

    def choose(self, candidates: Sequence[Sequence[str]]) -> list[int]:
        """Return the place of the chosen one among the candidates of each source."""
        first = self._searched - self._beams  # a plain search that is no candidate
        # Among equals the first one is chosen. Beams have the order of the model's scores; samples come after them.
        return [first + place for place in self._chooser.choose([texts[first:] for texts in candidates])]

    def _searches(self, sources: int, device: torch.device) -> Iterator[dict[str, Any]]:
        """Yield the arguments of each search: that of the beams, then portions of the samples."""
        if self._searched:
            yield self._plain
        at_once = self._num_beams if device.type == "cuda" else max(1, _SAMPLED_ROWS // sources)
        portions = -(-self._samples // at_once)
        for portion in range(portions):
            share = (self._samples + portion) // portions  # the shares differ by one at most
            yield {**self._sampling, "num_return_sequences": share, "draw_next": draw_by_inversion}


def _function_text(utility: Callable[[str, str], float]) -> str:
    """Name a utility of the user's own; never as one of ours."""
    return f"function {getattr(utility, '__qualname__', type(utility).__qualname__)}"
