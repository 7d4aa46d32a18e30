"""The decoder as the search strategies see it."""

from collections.abc import Callable
from typing import Protocol

from torch import Tensor


class Decoder(Protocol):
    """A model with its sources: tokens in, the next token's logits out. R rows, V vocabulary, B sentences."""

    def next_logits(self, tokens: Tensor) -> Tensor:
        """Read the newest tokens (R,) and return the logits of the ones after them, float32 (R, V)."""

    def reorder(self, rows: Tensor) -> None:
        """Let row i continue what row ``rows[i]`` has read; rows: (R,)."""

    def keep_rows(self, gather: Callable[[Tensor], Tensor]) -> None:
        """Drop the sentences that leave: keep of each tensor (B, ...) the rows that ``gather`` gives."""


def read_prompt(decoder: Decoder, prompt: Tensor) -> None:
    """Read all but the last tokens of the beginning of every row (R, P)."""
    for tokens in prompt[:, :-1].unbind(1):
        decoder.next_logits(tokens)
