"""Count outputs that are no summaries: empty ones, and those that repeat special tokens, which decoding removes.

Both are signs of a fine-tuning that went wrong at the first token (docs/first_token.md).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

WORTH_A_WARNING = 0.01  # share of the outputs


def repeats_special_tokens(sequences: Tensor, tokenizer: PreTrainedTokenizerBase) -> Tensor:
    """Find the summaries with two special tokens or more. One is usual: the <s> at the beginning.

    Args:
        sequences: (N, L), generated tokens after the decoder's start token. That token does not count, nor do the </s>
            at the end and the padding after it.
        tokenizer: knows the special tokens.

    Returns:
        (N,) bool.
    """
    tokens = sequences[:, 1:]
    specials = torch.isin(tokens, torch.tensor(tokenizer.all_special_ids, device=tokens.device)).sum(1)
    padding = (tokens == tokenizer.pad_token_id).flip(1).int().cumprod(1).sum(1)
    last = (tokens.size(1) - 1 - padding).clamp(min=0)
    is_ended = tokens.gather(1, last[:, None])[:, 0] == tokenizer.eos_token_id
    return specials - padding - is_ended.int() > 1


def count_degenerate(texts: Mapping[int, Sequence[str]], repeating: Iterable[int]) -> dict[str, int]:
    """Count the degenerate outputs, for a report.

    Args:
        texts: the outputs of each row, best first; only the best one counts.
        repeating: the rows whose best output repeats special tokens.
    """
    empty = {row for row, written in texts.items() if not written[0]}
    repeated = set(repeating)
    return {
        "outputs": len(texts),
        "empty": len(empty),
        "repeat_special_tokens": len(repeated),
        "either": len(empty | repeated),
    }


def count_empty(texts: Iterable[str]) -> int:
    """Count the texts that hold nothing but white space."""
    return sum(not text.strip() for text in texts)


def degenerate_warning(report: Mapping[str, Any]) -> str | None:
    """Return a warning of one line; None if there are so few such outputs that the model may be sound."""
    counts = report["degenerate_outputs"]
    share = counts["either"] / counts["outputs"]
    if share <= WORTH_A_WARNING:
        return None
    return (
        f"warning: {counts['either']:,} of {counts['outputs']:,} outputs ({share:.1%}) repeat special tokens "
        f"({counts['repeat_special_tokens']:,}) or are empty ({counts['empty']:,}): see docs/first_token.md"
    )
