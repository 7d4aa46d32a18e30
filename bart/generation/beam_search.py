"""Beam search, sampled beam search and diverse beam search (Vijayakumar et al. 2016, https://arxiv.org/abs/1610.02424).

Ordinary beam search is diverse beam search with one group. Results are those of Hugging Face's beam search, setting
for setting, which is why unused scores are the finite -1e9 that it uses: where too few tokens are allowed to fill all
beams, the difference from -inf can be seen.
Shapes: B sentences, G groups, K beams of a group, L longest output, V vocabulary.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from bart.configuration.search_settings import SearchSettings
from bart.generation.logits_rules import Rule
from bart.generation.output import GenerationOutput
from bart.generation.running import Running
from bart.generation.sampling import draw
from bart.generation.step_decoder import StepDecoder

UNUSED = -1.0e9  # the score of a place that holds nothing yet, and what is added to a candidate to put it last


class BeamGroup:
    """The running and the finished beams of one group."""

    def __init__(self, start: Tensor, beams: int, first_row: int, settings: SearchSettings, pad_token_id: int) -> None:
        """start: (B,) start tokens; first_row: of this group among a sentence's beams."""
        self.beams, self.first_row, self.settings = beams, first_row, settings
        batch, device = start.size(0), start.device
        self.length = 1  # tokens so far, the start token included
        self.tokens = torch.full((batch, beams, settings.max_length), pad_token_id, dtype=torch.long, device=device)
        self.tokens[:, :, 0] = start[:, None]
        self.rows = torch.full((batch, beams, settings.max_length - 1), -1, dtype=torch.long, device=device)
        # Every beam starts the same, so only the first may be continued at first.
        self.scores = torch.full((batch, beams), UNUSED, device=device)
        self.scores[:, 0] = 0.0
        self.finished_tokens = self.tokens.clone()
        self.finished_rows = self.rows.clone()
        self.finished_scores = torch.full((batch, beams), UNUSED, device=device)
        self.is_finished = torch.zeros(batch, beams, dtype=torch.bool, device=device)
        self.may_improve = torch.ones(batch, 1, dtype=torch.bool, device=device)

    def advance(self, log_probs: Tensor, rows: Tensor, eos_token_id: int) -> tuple[Tensor, Tensor]:
        """Continue every beam by one token, and set aside those that end.

        Args:
            log_probs: (B, K, V), of the next token, after all rules.
            rows: (B, K), the row that each beam has among all beams of the batch.

        Returns:
            (B, K) the beam that each running beam continues, and (B, K) its new token.
        """
        candidates = (log_probs + self.scores[:, :, None]).flatten(1)  # (B, K * V)
        scores, places = self._choose(candidates)  # (B, 2K), best first
        vocabulary = log_probs.size(-1)
        beams, tokens = places // vocabulary, places % vocabulary
        candidate_tokens = _take(self.tokens, beams)  # (B, 2K, L)
        candidate_tokens[:, :, self.length] = tokens
        candidate_rows = _take(self.rows, beams)
        candidate_rows[:, :, self.length - 1] = rows.gather(1, beams)
        self.length += 1
        ends = (tokens == eos_token_id) | (self.length >= self.settings.max_length)

        running_scores, running = (scores + ends * UNUSED).topk(self.beams)
        self._set_aside(scores, ends, candidate_tokens, candidate_rows)
        self.scores, self.tokens, self.rows = (
            running_scores,
            _take(candidate_tokens, running),
            _take(candidate_rows, running),
        )
        self.may_improve = self.may_improve & self._can_beat_the_worst_finished()
        return beams.gather(1, running), tokens.gather(1, running)

    def _choose(self, candidates: Tensor) -> tuple[Tensor, Tensor]:
        """Scores and places of 2K candidates: enough that K are left when K end."""
        if not self.settings.do_sample:
            return candidates.topk(2 * self.beams)
        places = draw(candidates, 2 * self.beams)
        return candidates.gather(1, places), places

    def _set_aside(self, scores: Tensor, ends: Tensor, tokens: Tensor, rows: Tensor) -> None:
        """Keep the best K of the finished beams and of the candidates (B, 2K) that end among the first K."""
        among_first = torch.arange(2 * self.beams, device=scores.device) < self.beams
        ends = ends & among_first
        scores = scores / (self.length - 1) ** self.settings.length_penalty
        closed = ~self.may_improve
        if self.settings.early_stopping is True:
            closed = closed | self.is_finished.all(1, keepdim=True)
        scores = scores + closed * UNUSED + ~ends * UNUSED
        self.finished_scores, kept = torch.cat([self.finished_scores, scores], 1).topk(self.beams)
        self.finished_tokens = _take(torch.cat([self.finished_tokens, tokens], 1), kept)
        self.finished_rows = _take(torch.cat([self.finished_rows, rows], 1), kept)
        self.is_finished = torch.cat([self.is_finished, ends], 1).gather(1, kept)

    def _can_beat_the_worst_finished(self) -> Tensor:
        """(B, 1): whether the best running beam might still come to a better score than the worst finished one."""
        settings = self.settings
        to_the_end = settings.early_stopping == "never" and settings.length_penalty > 0
        length = settings.max_length - 1 if to_the_end else self.length - 1
        best_possible = self.scores[:, :1] / float(length**settings.length_penalty)
        worst_finished = self.finished_scores.min(1, keepdim=True).values.where(self.is_finished, UNUSED)  # (B, K)
        return (best_possible > worst_finished).any(1, keepdim=True)

    def done(self) -> tuple[Tensor, Tensor]:
        """(B,): the sentences whose finished beams stay as they are, whatever comes; and whether the search is over.

        It may be over with places that nothing has filled, where too few tokens are allowed.
        """
        is_full = self.is_finished.all(1)
        if self.settings.early_stopping is True:
            return is_full, is_full.all() | ~self.may_improve.any()
        return is_full & ~self.may_improve[:, 0], ~self.may_improve.any()

    def select(self, of: Callable[[Tensor], Tensor]) -> None:
        """Let sentences leave: keep of every tensor (B, ...) what ``of`` gives."""
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                setattr(self, name, of(value))


def beam_search(
    decoder: StepDecoder,
    start: Tensor,
    settings: SearchSettings,
    rules: list[Rule],
    eos_token_id: int,
    pad_token_id: int,
) -> GenerationOutput:
    """Search with ``settings.num_beams`` beams in ``settings.num_beam_groups`` groups. start: (B,) start tokens."""
    batch, beams, in_group = start.size(0), settings.num_beams, settings.num_beams // settings.num_beam_groups
    groups = [BeamGroup(start, in_group, first, settings, pad_token_id) for first in range(0, beams, in_group)]
    results = Results(groups)
    # A draw, and the scores of a step, are of the whole batch.
    running = Running(batch, start.device, not (settings.do_sample or settings.return_dict_in_generate))
    all_rows = torch.arange(batch * beams, device=start.device).view(batch, beams)
    tokens = start[:, None].expand(batch, beams)
    steps: list[Tensor] = []
    while not running.all_done:
        log_probs = decoder.next_logits(tokens.flatten()).log_softmax(-1).view(*tokens.shape, -1)
        processed: list[Tensor] = []
        parents: list[Tensor] = []
        chosen: list[Tensor] = []
        for group in groups:
            span = slice(group.first_row, group.first_row + in_group)
            scores = log_probs[:, span]
            if settings.diversity_penalty > 0 and chosen:
                scores = scores - settings.diversity_penalty * _counts(torch.cat(chosen, 1), scores.size(-1))[:, None]
            scores = _apply(rules, group.tokens[:, :, : group.length], scores)
            beam, token = group.advance(scores, all_rows[:, span], eos_token_id)
            processed.append(scores)
            parents.append(beam + group.first_row)
            chosen.append(token)
        if settings.output_scores and settings.return_dict_in_generate:
            steps.append(torch.cat(processed, 1).flatten(0, 1))
        if groups[0].length >= settings.max_length:
            break
        tokens = torch.cat(chosen, 1)
        decoder.reorder(all_rows.gather(1, torch.cat(parents, 1)).flatten())
        sentences = running.sentences
        done, all_done = (torch.stack(each).all(0) for each in zip(*(group.done() for group in groups), strict=True))
        move = running.report(done, all_done)
        if move is not None:
            results.take(groups, sentences)
            move.apply([*groups, *rules, decoder])
            tokens, all_rows = move.of(tokens), all_rows[: move.count]
    results.take(groups, running.sentences)
    return results.best(settings, steps[: len(steps) - running.surplus_steps()])


class Results:
    """The finished beams of all sentences, also of those that have left the batch."""

    def __init__(self, groups: Sequence[BeamGroup]) -> None:
        self.tokens = torch.cat([group.finished_tokens for group in groups], 1)  # (B, G * K, L)
        self.rows = torch.cat([group.finished_rows for group in groups], 1)  # (B, G * K, L - 1)
        self.scores = torch.cat([group.finished_scores for group in groups], 1)  # (B, G * K)

    def take(self, groups: Sequence[BeamGroup], sentences: Tensor) -> None:
        """Note what has been finished of the sentences that stand at the groups' places."""
        self.tokens[sentences] = torch.cat([group.finished_tokens for group in groups], 1)
        self.rows[sentences] = torch.cat([group.finished_rows for group in groups], 1)
        self.scores[sentences] = torch.cat([group.finished_scores for group in groups], 1)

    def best(self, settings: SearchSettings, steps: list[Tensor]) -> GenerationOutput:
        """The best sequences over all groups, cut to the longest of them."""
        scores, best = self.scores.topk(settings.num_return_sequences)
        sequences = _take(self.tokens, best).flatten(0, 1)  # (N, L)
        rows = _take(self.rows, best).flatten(0, 1)  # (N, L - 1)
        longest = int((rows >= 0).sum(1).max())
        return GenerationOutput(
            sequences=sequences[:, : longest + 1],
            sequences_scores=scores.flatten() if settings.output_scores else None,
            scores=tuple(steps) if settings.output_scores else None,
            beam_indices=rows[:, :longest],
        )


def _apply(rules: list[Rule], tokens: Tensor, scores: Tensor) -> Tensor:
    """Apply rules over a batch of beams: tokens (B, K, L), scores (B, K, V)."""
    flat_tokens, flat_scores = tokens.flatten(0, 1), scores.flatten(0, 1)
    for rule in rules:
        flat_scores = rule(flat_tokens, flat_scores)
    return flat_scores.view_as(scores)


def _counts(tokens: Tensor, vocabulary: int) -> Tensor:
    """How often each token of the vocabulary stands in a row of (B, n): float32 (B, V)."""
    counts = torch.zeros(tokens.size(0), vocabulary, device=tokens.device)
    return counts.scatter_add_(1, tokens, torch.ones_like(tokens, dtype=counts.dtype))


def _take(values: Tensor, places: Tensor) -> Tensor:
    """Of (B, m, ...), the places (B, n) of the second dimension: (B, n, ...)."""
    return values.gather(1, places[:, :, None].expand(-1, -1, values.size(2)))
