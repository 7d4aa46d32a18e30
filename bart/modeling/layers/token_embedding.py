"""The table of token embeddings, which encoder, decoder and output layer share (Press & Wolf 2017,
https://arxiv.org/abs/1608.05859).

Shapes: V vocabulary, D model.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class TokenEmbedding(nn.Embedding):
    """Like torch's; in training on a CPU its lookups can be chained to the output layer that has the same weight."""

    def __init__(self, vocab_size: int, d_model: int, padding_idx: int | None = None) -> None:
        super().__init__(vocab_size, d_model, padding_idx)
        self._chained: Tensor | None = None

    def forward(self, input_ids: Tensor) -> Tensor:
        """(...) -> (..., D)"""
        if self._chained is None:
            return super().forward(input_ids)
        embedded: Tensor
        embedded, self._chained = _ChainedLookup.apply(  # type: ignore[no-untyped-call]
            self._chained, input_ids, self.padding_idx
        )
        return embedded

    @contextmanager
    def chain(self) -> Iterator[None]:
        """Let each lookup within hand the table on, and ``table`` be what the last one hands to the output layer.

        The gradient then takes the same way back: it is the output layer's, into which each lookup adds its few rows,
        where autograd would fill and add a whole table for each. Not on a GPU, which adds equal tokens' rows in an
        order that is left to chance.
        """
        self._chained = self.weight.view_as(self.weight) if self.weight.device.type == "cpu" else None
        try:
            yield
        finally:
            self._chained = None

    @property
    def table(self) -> Tensor:
        """(V, D), the weight."""
        return self.weight if self._chained is None else self._chained


class _ChainedLookup(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, table: Tensor, input_ids: Tensor, padding_idx: int | None) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(input_ids)
        ctx.padding_idx = padding_idx
        ctx.shape, ctx.dtype = table.shape, table.dtype
        ctx.set_materialize_grads(False)
        return F.embedding(input_ids, table), table.view_as(table)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor | None, table_gradient: Tensor | None) -> tuple[Tensor | None, None, None]:
        """``table_gradient`` (V, D) belongs to this chain alone, so the rows are added in place."""
        (input_ids,) = ctx.saved_tensors
        if gradient is None:
            return table_gradient, None, None
        if table_gradient is None:
            table_gradient = gradient.new_zeros(ctx.shape, dtype=ctx.dtype)
        rows, gradient = input_ids.flatten(), gradient.flatten(0, -2)
        if ctx.padding_idx is not None:
            is_token = rows != ctx.padding_idx
            rows, gradient = rows[is_token], gradient[is_token]
        return table_gradient.index_add_(0, rows, gradient), None, None
