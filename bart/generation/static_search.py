"""Searches whose steps are nothing but operations on tensors at fixed addresses, so that a CUDA graph can repeat them.

The host learns from a step only which sentences are done. It must know which step is the last one possible.
Shapes: B sentences, K beams, R = B * K rows, C candidates of a sentence, V vocabulary, L longest output.
"""

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Protocol

import torch
from torch import Tensor

from bart.configuration.generation_config import GenerationConfig
from bart.generation.arguments import SpecialTokens
from bart.generation.beam_search import UNUSED, BeamGroup, Results
from bart.generation.logits_processors import LogitsProcessor
from bart.generation.output_length import StaticLength
from bart.generation.static_decoder import StaticDecoder
from bart.generation.static_processors import StepScores, are_static, static_processors
from bart.generation.steps import StepRecord
from bart.generation.stopping import is_any_of
from bart.modeling.kernels.available import triton_kernels


class StaticSearch(Protocol):
    """A search that can be started again and again, for prompts of the same shape."""

    @property
    def flags(self) -> Tensor:
        """Of each sentence, whether its result is final, and whether the search is over: bool (B + 1,)."""

    def start(self, prompt: Tensor) -> None:
        """Start with other prompts (B, 1). The decoder has been reset."""

    def step(self, cache_length: int) -> None:
        """Continue every output by one token, and set ``flags``.

        Args:
            cache_length: number of the decoder cache's positions that are attended to.
        """

    def keep_rows(self, gather: Callable[[Tensor], Tensor]) -> None:
        """Keep only the rows of each tensor (B, ...) that ``gather`` returns: those of the sentences that stay."""

    def take(self, sentences: Tensor) -> None:
        """Copy the results; ``sentences`` (b,) says which sentence each of their rows is."""

    def best(self) -> Tensor:
        """Return the best outputs of all sentences, best first, cut to the longest of them: (N, L)."""


def suits_static_search(settings: GenerationConfig, prompt: Tensor, processors: Sequence[LogitsProcessor]) -> bool:
    """Return whether ``static_search`` can do this search: one that is common, without its scores."""
    is_plain = not settings.do_sample and not settings.return_dict_in_generate and settings.num_beam_groups == 1
    return is_plain and prompt.size(1) == 1 and are_static(processors)


def static_search(
    decoder: StaticDecoder,
    prompt: Tensor,
    settings: GenerationConfig,
    special: SpecialTokens,
    processors: Sequence[LogitsProcessor],
) -> StaticSearch:
    """Return a search to be started, with tensors of its own on the device of ``prompt`` (B, 1).

    Args:
        decoder: with ``num_beams`` rows for each sentence.
        prompt: its shape counts.
        settings: with ``max_length``.
        special: the tokens that end and pad outputs.
        processors: applied to the scores of every step, in this order.
    """
    if settings.num_beams == 1:
        return StaticGreedySearch(decoder, prompt, settings, special, processors)
    return StaticBeamSearch(decoder, prompt, settings, special, processors)


class StaticBeamSearch:
    """Beam search with one group of beams."""

    def __init__(
        self,
        decoder: StaticDecoder,
        prompt: Tensor,
        settings: GenerationConfig,
        special: SpecialTokens,
        processors: Sequence[LogitsProcessor],
    ) -> None:
        """See ``static_search``."""
        sentences, beams, device = len(prompt), settings.num_beams, prompt.device
        self._decoder, self._settings, self._special = decoder, settings, special
        self._processors = static_processors(processors, device)
        self._length = StaticLength(settings, 1, device)
        self._group = self._new_group(prompt)
        self._full_batch = _tensors_of(self._group)
        self._ends = torch.tensor(special.eos, dtype=torch.long, device=device)
        self._rows = torch.arange(sentences * beams, device=device).view(sentences, beams)
        self._all_flags = torch.zeros(sentences + 1, dtype=torch.bool, device=device)

    def start(self, prompt: Tensor) -> None:
        self._length.reset()
        new = self._new_group(prompt)
        for name, tensor in self._full_batch.items():
            setattr(self._group, name, tensor.copy_(getattr(new, name)))
        self._results = Results([new])

    def step(self, cache_length: int) -> None:
        group = self._group
        tokens = group.tokens.flatten(0, 1)  # (R, L)
        logits = self._decoder.next_logits(self._length.newest(tokens).squeeze(1), cache_length)
        kernels = self._kernels(logits)
        candidates = self._candidates(logits, tokens, kernels)
        if kernels is None:
            self._extend(*candidates)
        else:
            self._extend_by_kernel(kernels, *candidates)

    def _extend(self, scores: Tensor, beams: Tensor, chosen: Tensor) -> None:
        """Continue the beams by candidates, each (B, C)."""
        group, rows = self._group, self._rows[: len(self._group.tokens)]
        # The group makes new tensors; their contents move to the fixed addresses.
        fixed = _tensors_of(group)
        try:
            parents, _ = group.extend(scores, beams, chosen, rows)
            for name, tensor in fixed.items():
                if getattr(group, name) is not tensor:
                    tensor.copy_(getattr(group, name))
        finally:  # also if a capture fails here: the search then goes on without it
            for name, tensor in fixed.items():
                setattr(group, name, tensor)
        self._decoder.reorder(rows.gather(1, parents).flatten())
        done, is_over = group.done()
        torch.cat([done, is_over[None]], out=self.flags)

    def _extend_by_kernel(self, kernels: ModuleType, scores: Tensor, beams: Tensor, chosen: Tensor) -> None:
        """Do as ``_extend`` does."""
        group, length = self._group, self._length
        state = kernels.BeamTensors(
            group.scores, group.tokens, group.rows,
            group.finished_scores, group.finished_tokens, group.finished_rows, group.is_finished, group.may_improve,
            length.tensor, self.flags, self._decoder.ancestors,
        )  # fmt: skip
        stops_when_full = self._settings.early_stopping is True
        rules = kernels.BeamRules(
            self._ends, length.divisors, group.best_divisor, stops_when_full, group.max_length, UNUSED
        )
        kernels.extend_beams(state, rules, scores, beams, chosen)

    def _kernels(self, logits: Tensor) -> ModuleType | None:
        """Return the kernels, if they can do the end of a step."""
        kernels, beams, candidates = triton_kernels(logits), self._group.beams, self._group.candidates
        if kernels is None or not kernels.can_extend(beams, candidates):
            return None
        return kernels if kernels.can_choose(beams, logits.size(-1), candidates) else None

    @property
    def flags(self) -> Tensor:
        return self._all_flags[: len(self._group.tokens) + 1]

    def keep_rows(self, gather: Callable[[Tensor], Tensor]) -> None:
        self._group.keep_rows(gather)

    def take(self, sentences: Tensor) -> None:
        self._results.take([self._group], sentences)

    def best(self) -> Tensor:
        return self._results.best(self._settings, StepRecord(self._settings), surplus=0).sequences

    def _new_group(self, prompt: Tensor) -> BeamGroup:
        return BeamGroup(prompt, self._settings.num_beams, 0, self._settings, self._special, length=self._length)

    def _candidates(
        self, logits: Tensor, tokens: Tensor, kernels: ModuleType | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Choose the best continuations: their scores, beams and tokens, each (B, C).

        With kernels, a row of log probabilities is made only if a processor needs it.
        """
        group = self._group
        if kernels is not None and all(processor.only_bans for processor in self._processors):
            step = StepScores(logits, kernels.normalizers(logits), tokens, self._length, kernels)
        else:
            step = StepScores(logits.to(torch.float32).log_softmax(-1), None, tokens, self._length, kernels)
        for process in self._processors:
            process(step)
        if kernels is None:
            return group.choose(step.scores.view(*group.scores.shape, -1))
        found: tuple[Tensor, Tensor, Tensor] = kernels.best_continuations(
            step.scores, step.normalizers, group.scores, group.candidates
        )
        return found


class StaticGreedySearch:
    """Greedy search."""

    def __init__(
        self,
        decoder: StaticDecoder,
        prompt: Tensor,
        settings: GenerationConfig,
        special: SpecialTokens,
        processors: Sequence[LogitsProcessor],
    ) -> None:
        """See ``static_search``."""
        assert settings.max_length is not None
        sentences, device = len(prompt), prompt.device
        self._decoder, self._special = decoder, special
        self._processors = static_processors(processors, device)
        self._length = StaticLength(settings, 1, device)
        self._tokens = prompt.new_empty(sentences, settings.max_length)
        self._lengths = prompt.new_empty(sentences)  # of outputs until they are done, the end included
        self._done = torch.empty(sentences, dtype=torch.bool, device=device)
        self._full_batch = self._tokens, self._lengths, self._done
        self._all_flags = torch.zeros(sentences + 1, dtype=torch.bool, device=device)

    def start(self, prompt: Tensor) -> None:
        self._length.reset()
        self._tokens, self._lengths, self._done = self._full_batch
        self._tokens.fill_(self._special.pad)[:, :1] = prompt
        self._lengths.fill_(1)
        self._done.fill_(False)
        self._finished, self._finished_lengths = self._tokens.clone(), self._lengths.clone()

    def step(self, cache_length: int) -> None:
        logits = self._decoder.next_logits(self._length.newest(self._tokens).squeeze(1), cache_length)
        kernels = triton_kernels(logits)
        if kernels is None or not all(processor.only_bans for processor in self._processors):
            logits = logits.to(torch.float32)
        step = StepScores(logits, None, self._tokens, self._length, kernels)
        for process in self._processors:
            process(step)
        chosen = step.scores.argmax(-1)
        if self._special.eos:
            chosen = chosen.masked_fill(self._done, self._special.pad)
        self._length.write_token(self._tokens, chosen)
        self._length.advance()
        self._lengths += ~self._done
        self._done |= is_any_of(chosen, self._special.eos)
        torch.cat([self._done, self._done.all()[None]], out=self.flags)

    @property
    def flags(self) -> Tensor:
        return self._all_flags[: len(self._tokens) + 1]

    def keep_rows(self, gather: Callable[[Tensor], Tensor]) -> None:
        self._tokens, self._lengths, self._done = map(gather, (self._tokens, self._lengths, self._done))

    def take(self, sentences: Tensor) -> None:
        self._finished[sentences] = self._tokens
        self._finished_lengths[sentences] = self._lengths

    def best(self) -> Tensor:
        return self._finished[:, : int(self._finished_lengths.max())]


def _tensors_of(holder: object) -> dict[str, Tensor]:
    """Return the attributes that are tensors, by name."""
    return {name: value for name, value in vars(holder).items() if isinstance(value, Tensor)}
