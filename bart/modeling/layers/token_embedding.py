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
    """``nn.Embedding`` whose gradient can share one table with the output layer's, in training on a CPU."""

    def __init__(self, vocab_size: int, d_model: int, padding_idx: int | None = None) -> None:
        super().__init__(vocab_size, d_model, padding_idx)
        self._tied_table: Tensor | None = None

    def forward(self, input_ids: Tensor) -> Tensor:
        """Look tokens up: (...) to (..., D)."""
        if self._tied_table is None:
            return super().forward(input_ids)
        embedded: Tensor
        embedded, self._tied_table = _TiedLookup.apply(  # type: ignore[no-untyped-call]
            self._tied_table, input_ids, self.padding_idx
        )
        return embedded

    @contextmanager
    def tied_gradients(self) -> Iterator[None]:
        """Let lookups and the output layer share one gradient table. Within the block, the latter must read ``table``.

        Each lookup passes the table on to the next one, and the last one to the output layer. The gradient goes the
        same way back: each lookup adds its few rows to the output layer's gradient in place, while autograd alone would
        add a full table for each lookup. On a GPU this has no effect, since rows of equal tokens would be added in a
        random order.
        """
        self._tied_table = self.weight.view_as(self.weight) if self.weight.device.type == "cpu" else None
        try:
            yield
        finally:
            self._tied_table = None

    @property
    def table(self) -> Tensor:
        """The weight (V, D), for the output layer."""
        return self.weight if self._tied_table is None else self._tied_table


class _TiedLookup(torch.autograd.Function):
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
        """Add the gradient's rows to ``table_gradient`` (V, D) in place, as nothing else refers to it."""
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
