"""Beam search, sampled beam search and diverse beam search (Vijayakumar et al. 2016, https://arxiv.org/abs/1610.02424).

Ordinary beam search is diverse beam search with one group. Results equal those of Hugging Face's beam search, setting
for setting. Therefore unused scores are its finite -1e9: the difference from -inf shows if too few tokens are allowed
to fill all beams. Transformers 5 has no groups; with several groups, results equal those of version 4.53, the last one
that had them. That version also looks at ended candidates to decide whether a sentence is done, and continues a group
that is done with padding.

Shapes: B sentences, G groups, K beams of a group, C candidates of a group, L longest output, P prompt tokens,
V vocabulary.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from bart.configuration.generation_config import GenerationConfig
from bart.generation.active_sentences import ActiveSentences
from bart.generation.arguments import SpecialTokens
from bart.generation.decoder import Decoder, read_prompt
from bart.generation.logits_processors import LogitsProcessor
from bart.generation.output import GenerationOutput
from bart.generation.output_length import HostLength, OutputLength
from bart.generation.sampling import draw
from bart.generation.steps import StepRecord
from bart.generation.stopping import Condition, is_any_of, meets_any

UNUSED = -1.0e9  # the score of an empty entry; added to the score of a candidate, it puts that one last


class BeamGroup:
    """The running and the finished beams of one group."""

    def __init__(
        self,
        prompt: Tensor,
        beams: int,
        first_row: int,
        settings: GenerationConfig,
        special: SpecialTokens,
        conditions: Sequence[Condition] = (),
        length: OutputLength | None = None,
    ) -> None:
        """Start a group.

        Args:
            prompt: (B, P), the tokens that every output begins with.
            beams: K, of this group.
            first_row: index of the group's first beam among all beams of a sentence.
            settings: with ``max_length``.
            special: the tokens that end and pad outputs.
            conditions: callables that end outputs too.
            length: of the prompt, counted on by this group; None: by the host.
        """
        assert settings.max_length is not None
        self.beams, self.first_row, self.settings = beams, first_row, settings
        self.max_length, self.special, self.conditions = settings.max_length, special, conditions
        (batch, self.prompt_length), device = prompt.shape, prompt.device
        self.length: OutputLength = HostLength(settings, self.prompt_length) if length is None else length
        self.candidates = max(2, 1 + len(special.eos)) * beams  # enough to leave K that go on when every beam ends
        self.tokens = torch.full((batch, beams, self.max_length), special.pad, dtype=torch.long, device=device)
        self.tokens[:, :, : self.prompt_length] = prompt[:, None]
        new = self.max_length - self.prompt_length
        self.rows = torch.full((batch, beams, new), -1, dtype=torch.long, device=device)
        # Every beam starts the same, so only the first may be continued at first.
        self.scores = torch.full((batch, beams), UNUSED, device=device)
        self.scores[:, 0] = 0.0
        self.finished_tokens = self.tokens.clone()
        self.finished_rows = self.rows.clone()
        self.finished_scores = torch.full((batch, beams), UNUSED, device=device)
        self.is_finished = torch.zeros(batch, beams, dtype=torch.bool, device=device)
        self.may_improve = torch.ones(batch, 1, dtype=torch.bool, device=device)
        self.goes_on = torch.ones(batch, dtype=torch.bool, device=device)  # whether any candidate goes on

    def advance(
        self, log_probs: Tensor, rows: Tensor, steps: tuple[Tensor, ...] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Continue every beam by one token, and set aside the beams that end.

        Args:
            log_probs: (B, K, V), of the next token, after all processors.
            rows: (B, K), the index of each beam among all beams of the batch.
            steps: the scores of all steps so far, for the conditions.

        Returns:
            For each running beam the beam (B, K) that it continues, and its new token (B, K).
        """
        return self.extend(*self.choose(log_probs), rows, steps)

    def choose(self, log_probs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Choose candidates among the continuations of all beams together: the best ones, or by a draw.

        Args:
            log_probs: as for ``advance``.

        Returns:
            their scores, the beams that they continue, and the tokens that they append, each (B, C), best first
        """
        candidates = (log_probs + self.scores[:, :, None]).flatten(1)  # (B, K * V)
        if self.settings.do_sample:
            indices = draw(candidates, self.candidates)
            scores = candidates.gather(1, indices)
        else:
            scores, indices = candidates.topk(self.candidates)
        vocabulary = log_probs.size(-1)
        return scores, indices // vocabulary, indices % vocabulary

    def extend(
        self, scores: Tensor, beams: Tensor, tokens: Tensor, rows: Tensor, steps: tuple[Tensor, ...] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Continue beams by candidates, and set aside the beams that end.

        Args:
            scores: (B, C), from ``choose``.
            beams: (B, C), likewise.
            tokens: (B, C), likewise.
            rows: as for ``advance``, like the result.
            steps: likewise.
        """
        candidate_tokens = _take(self.tokens, beams)  # (B, C, L)
        self.length.write_token(candidate_tokens, tokens)
        candidate_rows = _take(self.rows, beams)
        self.length.write_row(candidate_rows, rows.gather(1, beams))
        self.length.advance()

        # The candidates that end: by their token, or by a condition of the caller.
        ends = is_any_of(tokens, self.special.eos)
        if self.conditions:
            so_far = self.length.so_far(candidate_tokens).flatten(0, 1)
            ends = ends | meets_any(self.conditions, so_far, steps).view_as(ends)
            self.goes_on = ~ends.all(1)

        # The best candidates that go on become the running beams. This is also done at the greatest length, since later
        # groups must avoid their tokens.
        running_scores, running = (scores + ends * UNUSED).topk(self.beams)
        self._set_aside(scores, ends | self.length.is_longest(), candidate_tokens, candidate_rows)
        self.scores, self.tokens, self.rows = (
            running_scores,
            _take(candidate_tokens, running),
            _take(candidate_rows, running),
        )
        best = scores if self.settings.num_beam_groups > 1 else running_scores
        self.may_improve = self.may_improve & self._can_beat_the_worst_finished(best[:, :1])
        return beams.gather(1, running), tokens.gather(1, running)

    def tokens_to_avoid(self, tokens: Tensor, was_done: Tensor) -> Tensor:
        """Return the new tokens (B, K) that later groups must avoid: padding for sentences that were done before."""
        return tokens.masked_fill(was_done[:, None], self.special.pad)

    def _set_aside(self, scores: Tensor, ends: Tensor, tokens: Tensor, rows: Tensor) -> None:
        """Keep the best K of the finished beams and of those candidates (B, C) that end and are among the first K."""
        among_first = torch.arange(self.candidates, device=scores.device) < self.beams
        ends = ends & among_first
        scores = self.length.penalize(scores)
        closed = ~self.may_improve
        if self.settings.early_stopping is True:
            closed = closed | self.is_finished.all(1, keepdim=True)
        scores = scores + closed * UNUSED + ~ends * UNUSED
        self.finished_scores, kept = torch.cat([self.finished_scores, scores], 1).topk(self.beams)
        self.finished_tokens = _take(torch.cat([self.finished_tokens, tokens], 1), kept)
        self.finished_rows = _take(torch.cat([self.finished_rows, rows], 1), kept)
        self.is_finished = torch.cat([self.is_finished, ends], 1).gather(1, kept)

    def _can_beat_the_worst_finished(self, best: Tensor) -> Tensor:
        """Return whether a beam with the score ``best`` (B, 1) may still beat the worst finished one: bool (B, 1)."""
        divisor = self.best_divisor
        best_possible = self.length.penalize(best) if divisor is None else best / divisor
        worst_finished = self.finished_scores.min(1, keepdim=True).values.where(self.is_finished, UNUSED)  # (B, K)
        return (best_possible > worst_finished).any(1, keepdim=True)

    @property
    def best_divisor(self) -> float | None:
        """What the score of a running beam is divided by for the best that it may become; None: as if it ended now."""
        settings = self.settings
        if settings.early_stopping != "never" or settings.length_penalty <= 0:
            return None
        return float((self.max_length - self.prompt_length) ** settings.length_penalty)

    def done(self) -> tuple[Tensor, Tensor]:
        """Return which sentences are done, bool (B,), and whether the search is over, a bool scalar.

        The finished beams of a sentence that is done cannot change any more. A search may be over with fewer than K
        finished beams, if too few tokens are allowed.
        """
        is_full = self.is_finished.all(1)
        over = ~self.may_improve.any()
        if self.conditions:
            over = over | ~self.goes_on.any()
        if self.settings.early_stopping is True:
            return is_full, is_full.all() | over
        return is_full & ~self.may_improve[:, 0], over

    def keep_rows(self, gather: Callable[[Tensor], Tensor]) -> None:
        """Keep only the rows of each tensor (B, ...) that ``gather`` returns: those of the sentences that stay."""
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                setattr(self, name, gather(value))


def beam_search(
    decoder: Decoder,
    prompt: Tensor,
    settings: GenerationConfig,
    special: SpecialTokens,
    processors: list[LogitsProcessor],
    conditions: Sequence[Condition] = (),
    may_shrink: bool = True,
) -> GenerationOutput:
    """Search with ``settings.num_beams`` beams in ``settings.num_beam_groups`` groups.

    Args:
        decoder: the model with its B sources, of ``num_beams`` rows for each.
        prompt: (B, P), the tokens that every output begins with.
        settings: with ``max_length``.
        special: the tokens that end and pad outputs.
        processors: applied to the scores of every step, in this order.
        conditions: callables that end outputs too.
        may_shrink: whether sentences that are done may leave the batch.

    Returns:
        The best ``num_return_sequences`` outputs of each sentence, best first.
    """
    batch, beams, in_group = prompt.size(0), settings.num_beams, settings.num_beams // settings.num_beam_groups
    groups = [BeamGroup(prompt, in_group, first, settings, special, conditions) for first in range(0, beams, in_group)]
    results = Results(groups)
    # Random draws and returned scores are defined for the full batch.
    may_shrink = may_shrink and not (settings.do_sample or settings.return_dict_in_generate)
    active = ActiveSentences(batch, prompt.device, may_shrink)
    all_rows = torch.arange(batch * beams, device=prompt.device).view(batch, beams)
    read_prompt(decoder, prompt.repeat_interleave(beams, dim=0))
    tokens = prompt[:, -1:].expand(batch, beams)
    record = StepRecord(settings)
    while not active.all_done:
        logits = decoder.next_logits(tokens.flatten())
        record.add_logits(logits)
        log_probs = logits.log_softmax(-1).view(*tokens.shape, -1)

        # Each group takes its turn; later groups avoid the tokens that earlier ones chose.
        processed: list[Tensor] = []
        parents: list[Tensor] = []
        chosen: list[Tensor] = []
        avoided: list[Tensor] = []
        for group in groups:
            span = slice(group.first_row, group.first_row + in_group)
            scores = log_probs[:, span]
            if avoided:
                scores = scores - settings.diversity_penalty * _counts(torch.cat(avoided, 1), scores.size(-1))[:, None]
            scores = _apply(processors, group.length.so_far(group.tokens), scores)
            processed.append(scores)
            if record.keeps_scores and len(processed) == len(groups):
                record.add_scores(torch.cat(processed, 1).flatten(0, 1))
            was_done, _ = group.done() if settings.diversity_penalty > 0 else (None, None)
            beam, token = group.advance(scores, all_rows[:, span], record.scores)
            if was_done is not None:
                avoided.append(group.tokens_to_avoid(token, was_done))
            parents.append(beam + group.first_row)
            chosen.append(token)
        if groups[0].length.is_longest():
            break

        # Beams continue others than before, and sentences that are done leave the batch.
        tokens = torch.cat(chosen, 1)
        decoder.reorder(all_rows.gather(1, torch.cat(parents, 1)).flatten())
        sentences = active.sentences
        done, all_done = (torch.stack(each).all(0) for each in zip(*(group.done() for group in groups), strict=True))
        compaction = active.report(done, all_done)
        if compaction is not None:
            results.take(groups, sentences)
            compaction.apply([*groups, *processors, decoder])
            tokens, all_rows = compaction.gather(tokens), all_rows[: compaction.count]
    results.take(groups, active.sentences)
    return results.best(settings, record, active.surplus_steps())


class Results:
    """The finished beams of all sentences, including those that have left the batch."""

    def __init__(self, groups: Sequence[BeamGroup]) -> None:
        self.tokens = torch.cat([group.finished_tokens for group in groups], 1)  # (B, G * K, L)
        self.rows = torch.cat([group.finished_rows for group in groups], 1)  # (B, G * K, L - 1)
        self.scores = torch.cat([group.finished_scores for group in groups], 1)  # (B, G * K)

    def take(self, groups: Sequence[BeamGroup], sentences: Tensor) -> None:
        """Copy the finished beams of the groups; ``sentences`` (b,) says which sentence each of their rows is."""
        self.tokens[sentences] = torch.cat([group.finished_tokens for group in groups], 1)
        self.rows[sentences] = torch.cat([group.finished_rows for group in groups], 1)
        self.scores[sentences] = torch.cat([group.finished_scores for group in groups], 1)

    def best(self, settings: GenerationConfig, record: StepRecord, surplus: int) -> GenerationOutput:
        """Return the best sequences over all groups, cut to the longest of them.

        Args:
            settings: say how many sequences, and what else to return.
            record: the steps of the search.
            surplus: how many of the newest steps to leave out.
        """
        scores, best = self.scores.topk(settings.num_return_sequences)
        sequences = _take(self.tokens, best).flatten(0, 1)  # (N, L)
        rows = _take(self.rows, best).flatten(0, 1)  # (N, L - 1)
        longest = int((rows >= 0).sum(1).max())
        prompt_length = sequences.size(1) - rows.size(1)
        output = GenerationOutput(
            sequences=sequences[:, : prompt_length + longest],
            sequences_scores=scores.flatten() if settings.output_scores else None,
            beam_indices=rows[:, :longest],
        )
        return record.complete(output, surplus)


def _apply(processors: list[LogitsProcessor], tokens: Tensor, scores: Tensor) -> Tensor:
    """Apply the processors to tokens (B, K, L) and scores (B, K, V): (B, K, V)."""
    flat_tokens, flat_scores = tokens.flatten(0, 1), scores.flatten(0, 1)
    for process in processors:
        flat_scores = process(flat_tokens, flat_scores)
    return flat_scores.view_as(scores)


def _counts(tokens: Tensor, vocabulary: int) -> Tensor:
    """Count how often each token of the vocabulary is in each row of ``tokens`` (B, n): float32 (B, V)."""
    counts = torch.zeros(tokens.size(0), vocabulary, device=tokens.device)
    return counts.scatter_add_(1, tokens, torch.ones_like(tokens, dtype=counts.dtype))


def _take(values: Tensor, indices: Tensor) -> Tensor:
    """Take from each row of ``values`` (B, m, L) the entries at ``indices`` (B, n): (B, n, L)."""
    return values.gather(1, indices[:, :, None].expand(-1, -1, values.size(2)))
