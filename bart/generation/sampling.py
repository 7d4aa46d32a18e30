"""Greedy search and sampling: one running sequence per row, without beams."""

from collections.abc import Sequence

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


def greedy_search_or_sampling(
    decoder: Decoder,
    prompt: Tensor,
    settings: GenerationConfig,
    special: SpecialTokens,
    processors: list[LogitsProcessor],
    conditions: Sequence[Condition] = (),
    may_shrink: bool = True,
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

    Returns:
        One output for each row.
    """
    max_length = settings.max_length
    assert max_length is not None
    tokens = prompt  # (R, L)
    done = torch.zeros(len(prompt), dtype=torch.bool, device=prompt.device)
    finished = prompt.new_full((len(prompt), max_length), special.pad)
    lengths = torch.full_like(prompt[:, 0], prompt.size(1))
    # Random draws and returned scores are defined for the full batch.
    may_shrink = may_shrink and not (settings.do_sample or settings.return_dict_in_generate)
    active = ActiveSentences(len(prompt), prompt.device, may_shrink)
    record = StepRecord(settings)
    read_prompt(decoder, prompt)

    while not active.all_done:
        # Choose the next token of each row.
        scores = decoder.next_logits(tokens[:, -1])  # (R, V)
        record.add_logits(scores)
        for process in processors:
            scores = process(tokens, scores)
        record.add_scores(scores)
        chosen = draw(scores, 1).squeeze(1) if settings.do_sample else scores.argmax(-1)
        if special.eos:  # as in transformers, outputs that are done are padded only if a token can end them
            chosen = chosen.masked_fill(done, special.pad)
            lengths[active.sentences] = torch.where(done, lengths[active.sentences], tokens.size(1) + 1)
        tokens = torch.cat([tokens, chosen[:, None]], 1)
        finished[active.sentences, : tokens.size(1)] = tokens

        # Find out which rows are done; their sentences leave the batch.
        done = done | is_any_of(chosen, special.eos)
        if conditions:
            done = done | meets_any(conditions, tokens, record.scores)
        if tokens.size(1) >= max_length:
            break
        compaction = active.report(done, done.all())
        if compaction is not None:
            tokens, done = compaction.gather(tokens), compaction.gather(done)
            compaction.apply([*processors, decoder])
    longest = int(lengths.max()) if special.eos else tokens.size(1)
    return record.complete(GenerationOutput(finished[:, :longest]), active.surplus_steps())
