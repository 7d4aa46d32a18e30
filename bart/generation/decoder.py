"""The interface through which the search strategies use a model."""

from collections.abc import Callable
from typing import Protocol

from torch import Tensor


class Decoder(Protocol):
    """A model with its sources: it takes tokens and returns the logits of the next ones.

    Shapes: R rows, V vocabulary, B sentences.
    """

    def next_logits(self, tokens: Tensor) -> Tensor:
        """Read the newest tokens (R,) and return the logits of the ones after them, float32 (R, V)."""

    def reorder(self, rows: Tensor) -> None:
        """Let row i continue what row ``rows[i]`` has read; rows: (R,)."""

    def keep_rows(self, gather: Callable[[Tensor], Tensor]) -> None:
        """Keep only the rows of each tensor (B, ...) that ``gather`` returns: those of the sentences that stay."""


def read_prompt(decoder: Decoder, prompt: Tensor) -> None:
    """Feed all but the last token of each row of ``prompt`` (R, P) to the decoder."""
    for tokens in prompt[:, :-1].unbind(1):
        decoder.next_logits(tokens)
