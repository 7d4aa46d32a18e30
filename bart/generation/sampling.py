"""Greedy search and sampling: one running sequence per row, without beams."""

import torch
from torch import Tensor

from bart.configuration.search_settings import SearchSettings
from bart.generation.logits_rules import Rule
from bart.generation.output import GenerationOutput
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
    is_running = torch.ones_like(start, dtype=torch.bool)
    steps: list[Tensor] = []
    while tokens.size(1) < settings.max_length and bool(is_running.any()):
        scores = decoder.next_logits(tokens[:, -1])  # (R, V)
        for rule in rules:
            scores = rule(tokens, scores)
        if settings.output_scores and settings.return_dict_in_generate:
            steps.append(scores)
        chosen = draw(scores, 1).squeeze(1) if settings.do_sample else scores.argmax(-1)
        tokens = torch.cat([tokens, chosen.where(is_running, pad_token_id)[:, None]], 1)
        is_running = is_running & (chosen != eos_token_id)
    return GenerationOutput(tokens, scores=tuple(steps) if settings.output_scores else None)
