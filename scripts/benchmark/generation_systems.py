"""The systems that scripts/benchmark/compare_generation.py compares, all with the same interface.

Each one reads the same Hugging Face folder, so the weights are the same, and gets the same token ids.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from bart.errors import InputError

_TORCH_TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Search:
    """The settings of beam search, by default those of the CNN-DM configuration."""

    beams: int
    min_length: int  # tokens of an output, start and end included
    max_length: int
    length_penalty: float = 2.0
    no_repeat_ngram_size: int = 3


class System(Protocol):
    """A model that summarizes batches of sources."""

    name: str

    def generate(self, sources: Sequence[np.ndarray], search: Search) -> list[list[int]]:
        """Return the best output of each source: its token ids without start, end and padding."""


class Ours:
    """This project."""

    def __init__(self, folder: Path, precision: str, device: str) -> None:
        from bart.generation.cuda_graphs import CudaGraphCache
        from bart.modeling.modeling_bart import BartForConditionalGeneration

        if precision not in (*_TORCH_TYPES, "int8"):
            raise InputError(f"--precisions {precision}: this project has {', '.join(_TORCH_TYPES)}, int8")
        self.name = f"this project, {precision}"
        self._device = device
        self._memory = CudaGraphCache()
        model = BartForConditionalGeneration.from_pretrained(folder)
        if precision == "int8":
            self.model = model.to(device).prepack("int8")
        else:
            self.model = model.to(device, _TORCH_TYPES[precision]).prepack()

    def generate(self, sources: Sequence[np.ndarray], search: Search) -> list[list[int]]:
        from utils.data.batch import pad_sources

        config = self.model.config
        input_ids, mask = pad_sources(sources, config.pad_token_id, config.max_position_embeddings)
        given = input_ids.to(self._device), mask.to(self._device)
        sequences = self.model.generate(*given, graphs=self._memory, **_arguments(search))
        return _without_special(sequences, config)


class Transformers:
    """Hugging Face's model and its generate, with the attention that it chooses by itself (sdpa)."""

    def __init__(self, folder: Path, precision: str, device: str) -> None:
        import transformers

        self.name = f"transformers {transformers.__version__}, {precision}"
        self._device = device
        model = transformers.BartForConditionalGeneration.from_pretrained(folder, dtype=_TORCH_TYPES[precision])
        self.model = model.to(device).eval()
        self.model.generation_config = transformers.GenerationConfig(
            **{name: getattr(model.config, name) for name in ("bos_token_id", "pad_token_id", "eos_token_id")},
            decoder_start_token_id=model.config.decoder_start_token_id,
        )

    def generate(self, sources: Sequence[np.ndarray], search: Search) -> list[list[int]]:
        from utils.data.batch import pad_sources

        config = self.model.config
        input_ids, mask = pad_sources(sources, config.pad_token_id, config.max_position_embeddings)
        with torch.no_grad():
            sequences = self.model.generate(
                input_ids.to(self._device), attention_mask=mask.to(self._device), do_sample=False, **_arguments(search)
            )
        return _without_special(sequences, config)


class CTranslate2:
    """OpenNMT's C++ engine, with weights from its own converter. Needs requirements/peers.txt."""

    def __init__(self, folder: Path, precision: str, device: str) -> None:
        import ctranslate2

        self.name = f"CTranslate2 {ctranslate2.__version__}, {precision}"
        compute_type = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16", "int8": "int8"}[precision]
        converted = folder / "ctranslate2"
        if not converted.exists():
            ctranslate2.converters.TransformersConverter(str(folder)).convert(str(converted))
        self._translator = ctranslate2.Translator(
            str(converted), device, compute_type=compute_type, inter_threads=1, intra_threads=torch.get_num_threads()
        )
        self._tokens = _vocabulary(folder)
        self._ids = {token: token_id for token_id, token in enumerate(self._tokens)}

    def generate(self, sources: Sequence[np.ndarray], search: Search) -> list[list[int]]:
        results = self._translator.translate_batch(
            [[self._tokens[token_id] for token_id in source] for source in sources],
            beam_size=search.beams,
            length_penalty=search.length_penalty,
            no_repeat_ngram_size=search.no_repeat_ngram_size,
            # Neither counts the start token, and the greatest length does not count the end.
            min_decoding_length=min(search.min_length - 1, search.max_length - 2),
            max_decoding_length=search.max_length - 2,
        )
        return [[self._ids[token] for token in result.hypotheses[0]] for result in results]


SYSTEMS: dict[str, type[Any]] = {"ours": Ours, "transformers": Transformers, "ctranslate2": CTranslate2}


def _arguments(search: Search) -> dict[str, Any]:
    return {
        "num_beams": search.beams,
        "min_length": search.min_length,
        "max_length": search.max_length,
        "length_penalty": search.length_penalty,
        "no_repeat_ngram_size": search.no_repeat_ngram_size,
        "early_stopping": True,
        "forced_eos_token_id": 2,
    }


def _without_special(sequences: torch.Tensor, config: Any) -> list[list[int]]:
    special = {config.bos_token_id, config.pad_token_id, config.eos_token_id}
    return [[token_id for token_id in sequence if token_id not in special] for sequence in sequences.tolist()]


def _vocabulary(folder: Path) -> list[str]:
    """Return the tokens in the order of their ids."""
    import transformers

    vocabulary = transformers.AutoTokenizer.from_pretrained(folder).get_vocab()
    return [token for token, _ in sorted(vocabulary.items(), key=lambda item: item[1])]
