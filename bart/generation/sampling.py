"""Greedy search and sampling: one running sequence per row, without beams."""

import torch
from torch import Tensor

from bart.configuration.search_settings import SearchSettings
from bart.generation.logits_rules import Rule
from bart.generation.output import GenerationOutput
from bart.generation.running import Running
from bart.generation.step_decoder import StepDecoder


def draw(scores: Tensor, count: int) -> Tensor:
    """Draw ``count`` different places in each row of log probabilities (n, m), with torch's global generator.

    Where a row allows nothing (every token is banned), any place may come.
    """
    return torch.multinomial(scores.softmax(-1).nan_to_num(nan=1.0), count)


def greedy_search_or_sampling(
    decoder: StepDecoder,
    start: Tensor,
    settings: SearchSettings,
    rules: list[Rule],
    eos_token_id: int,
    pad_token_id: int,
) -> GenerationOutput:
    """Take the likeliest token at every step or, with ``settings.do_sample``, draw one from torch's global generator.

    start: (R,) start tokens.
    """
    tokens = start[:, None]  # (R, L)
    done = torch.zeros_like(start, dtype=torch.bool)
    finished = start.new_full((start.size(0), settings.max_length), pad_token_id)
    lengths = torch.ones_like(start)
    # A draw, and the scores of a step, are of the whole batch.
    running = Running(start.size(0), start.device, not (settings.do_sample or settings.return_dict_in_generate))
    steps: list[Tensor] = []
    while not running.all_done:
        scores = decoder.next_logits(tokens[:, -1])  # (R, V)
        for rule in rules:
            scores = rule(tokens, scores)
        if settings.output_scores and settings.return_dict_in_generate:
            steps.append(scores.clone())
        chosen = draw(scores, 1).squeeze(1) if settings.do_sample else scores.argmax(-1)
        tokens = torch.cat([tokens, chosen.masked_fill(done, pad_token_id)[:, None]], 1)
        finished[running.sentences, : tokens.size(1)] = tokens
        lengths[running.sentences] = torch.where(done, lengths[running.sentences], tokens.size(1))
        done = done | (chosen == eos_token_id)
        if tokens.size(1) >= settings.max_length:
            break
        move = running.report(done, done.all())
        if move is not None:
            tokens, done = move.of(tokens), move.of(done)
            move.apply([*rules, decoder])
    steps = steps[: len(steps) - running.surplus_steps()]
    return GenerationOutput(finished[:, : int(lengths.max())], scores=tuple(steps) if settings.output_scores else None)
