"""Stopping: by an end token, or by conditions that the caller of a search gives."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from bart.errors import InputError

Condition = Callable[[Tensor, tuple[Tensor, ...] | None], Tensor | bool]


def is_any_of(tokens: Tensor, token_ids: Sequence[int]) -> Tensor:
    """Return which of ``tokens``, of any shape, are among the few ``token_ids``: bool, of the same shape."""
    if not token_ids:
        return torch.zeros_like(tokens, dtype=torch.bool)
    found = tokens == token_ids[0]
    for token in token_ids[1:]:
        found |= tokens == token
    return found


def meets_any(conditions: Sequence[Condition], tokens: Tensor, scores: tuple[Tensor, ...] | None) -> Tensor:
    """Return which outputs at least one of the conditions ends.

    Args:
        conditions: each is called with tokens and scores, and returns one bool per row, or one for all rows.
        tokens: (R, L), the newest one included.
        scores: one (R, V) per step so far; None if the search does not return them.

    Returns:
        bool (R,)

    Raises:
        InputError: a condition returns something else.
    """
    met = torch.zeros(len(tokens), dtype=torch.bool, device=tokens.device)
    for condition in conditions:
        answer = condition(tokens, scores)
        if not isinstance(answer, bool | Tensor) or getattr(answer, "shape", ()) not in ((len(tokens),), ()):
            found = f"shape {tuple(answer.shape)}" if isinstance(answer, Tensor) else type(answer).__name__
            raise InputError(
                f"generate: stopping_criteria: returned {found}; return one bool for each of the {len(tokens)} rows"
            )
        met |= torch.as_tensor(answer, dtype=torch.bool, device=tokens.device)
    return met
