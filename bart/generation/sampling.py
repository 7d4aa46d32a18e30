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
    """Draw ``count`` different places in each row of log probabilities (n, m), with torch's global generator.

    Where a row allows nothing (every token is banned), any place may come.
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
        prompt: (R, P), the beginning of every output.
        conditions: that end outputs, beside their last token.
        may_shrink: sentences that are done may leave the batch.
    """
    max_length = settings.max_length
    assert max_length is not None
    tokens = prompt  # (R, L)
    done = torch.zeros(len(prompt), dtype=torch.bool, device=prompt.device)
    finished = prompt.new_full((len(prompt), max_length), special.pad)
    lengths = torch.full_like(prompt[:, 0], prompt.size(1))
    # A draw, and the scores of a step, are of the whole batch.
    may_shrink = may_shrink and not (settings.do_sample or settings.return_dict_in_generate)
    active = ActiveSentences(len(prompt), prompt.device, may_shrink)
    record = StepRecord(settings)
    read_prompt(decoder, prompt)
    while not active.all_done:
        scores = decoder.next_logits(tokens[:, -1])  # (R, V)
        record.add_logits(scores)
        for process in processors:
            scores = process(tokens, scores)
        record.add_scores(scores)
        chosen = draw(scores, 1).squeeze(1) if settings.do_sample else scores.argmax(-1)
        if special.eos:  # as in transformers, only then what is done is padded
            chosen = chosen.masked_fill(done, special.pad)
            lengths[active.sentences] = torch.where(done, lengths[active.sentences], tokens.size(1) + 1)
        tokens = torch.cat([tokens, chosen[:, None]], 1)
        finished[active.sentences, : tokens.size(1)] = tokens
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
