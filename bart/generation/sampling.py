"""Greedy search and sampling: one running sequence per row, without beams."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from bart.configuration.generation_config import GenerationConfig
from bart.generation.active_sentences import ActiveSentences
from bart.generation.arguments import SpecialTokens
from bart.generation.decoder import Decoder, read_prompt
from bart.generation.logits_processors import LogitsProcessor
from bart.generation.output import GenerationOutput
from bart.generation.steps import StepRecord
from bart.generation.stopping import Condition, is_any_of, meets_any


def draw(scores: Tensor, count: int) -> Tensor:
    """Draw ``count`` different indices for each row of log probabilities (n, m): (n, count).

    Torch's global generator decides. If every token of a row is banned, any index may come.
    """
    return torch.multinomial(scores.softmax(-1).nan_to_num(nan=1.0), count)


def draw_by_inversion(scores: Tensor) -> Tensor:
    """Draw an index for each row of log probabilities (R, V), by one random number a row: (R,).

    On a CPU this is many times as fast as ``draw``, which takes a random number for each probability. The index is the
    first one up to which the probabilities sum to more than that number. Torch's global generator decides.
    """
    sums = scores.softmax(-1).cumsum_(-1)  # (R, V)
    total = sums[:, -1:]
    number = torch.minimum(total * torch.rand_like(total), total.nextafter(torch.zeros_like(total)))
    return torch.searchsorted(sums, number, right=True).squeeze(1).clamp_(max=scores.size(1) - 1)


def greedy_search_or_sampling(
    decoder: Decoder,
    prompt: Tensor,
    settings: GenerationConfig,
    special: SpecialTokens,
    processors: list[LogitsProcessor],
    conditions: Sequence[Condition] = (),
    may_shrink: bool = True,
    draw_next: Callable[[Tensor], Tensor] | None = None,
) -> GenerationOutput:
    """Take the likeliest token at every step or, with ``settings.do_sample``, draw one from torch's global generator.

    Args:
        decoder: the model with its sources, R rows.
        prompt: (R, P), the tokens that every output begins with.
        settings: with ``max_length``.
        special: the tokens that end and pad outputs.
        processors: applied to the scores of every step, in this order.
        conditions: callables that end outputs too.
        may_shrink: whether sentences that are done may leave the batch.
        draw_next: draws the next tokens (R,) from scores (R, V) in place of ``draw``. Only then do sentences leave
            while others are sampled: transformers draws for the full batch.

    Returns:
        One output for each row.
    """
    max_length = settings.max_length
    assert max_length is not None
    tokens = prompt  # (R, L)
    per_sentence = settings.num_return_sequences
    done = torch.zeros(len(prompt), dtype=torch.bool, device=prompt.device)
    finished = prompt.new_full((len(prompt) // per_sentence, per_sentence, max_length), special.pad)
    lengths = torch.full_like(finished[:, :, 0], prompt.size(1))
    # Returned scores are defined for the full batch, and so are random draws of transformers.
    may_shrink = may_shrink and not settings.return_dict_in_generate
    may_shrink = may_shrink and (draw_next is not None or not settings.do_sample)
    active = ActiveSentences(len(finished), prompt.device, may_shrink)
    record = StepRecord(settings)
    read_prompt(decoder, prompt)

    while not active.all_done:
        # Choose the next token of each row.
        scores = decoder.next_logits(tokens[:, -1])  # (R, V)
        record.add_logits(scores)
        for process in processors:
            scores = process(tokens, scores)
        record.add_scores(scores)
        if not settings.do_sample:
            chosen = scores.argmax(-1)
        else:
            chosen = draw(scores, 1).squeeze(1) if draw_next is None else draw_next(scores)
        if special.eos:  # as in transformers, outputs that are done are padded only if a token can end them
            chosen = chosen.masked_fill(done, special.pad)
            length = torch.where(done.view(-1, per_sentence), lengths[active.sentences], tokens.size(1) + 1)
            lengths[active.sentences] = length
        tokens = torch.cat([tokens, chosen[:, None]], 1)
        finished[active.sentences, :, : tokens.size(1)] = tokens.view(-1, per_sentence, tokens.size(1))

        # Find out which rows are done; sentences leave the batch when all of their rows are.
        done = done | is_any_of(chosen, special.eos)
        if conditions:
            done = done | meets_any(conditions, tokens, record.scores)
        if tokens.size(1) >= max_length:
            break
        compaction = active.report(done.view(-1, per_sentence).all(1), done.all())
        if compaction is not None:
            tokens = compaction.gather(tokens.view(-1, per_sentence, tokens.size(1))).flatten(0, 1)
            done = compaction.gather(done.view(-1, per_sentence)).flatten()
            compaction.apply([*processors, decoder])
    longest = int(lengths.max()) if special.eos else tokens.size(1)
    return record.complete(GenerationOutput(finished.flatten(0, 1)[:, :longest]), active.surplus_steps())
