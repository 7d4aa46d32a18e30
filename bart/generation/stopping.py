"""What else than its last token and its length may end an output: conditions that the caller of a search brings."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from bart.errors import InputError

Condition = Callable[[Tensor, tuple[Tensor, ...] | None], Tensor | bool]


def is_any_of(tokens: Tensor, token_ids: Sequence[int]) -> Tensor:
    """Where tokens of any shape are one of the few that are given: bool, of that shape."""
    if not token_ids:
        return torch.zeros_like(tokens, dtype=torch.bool)
    found = tokens == token_ids[0]
    for token in token_ids[1:]:
        found |= tokens == token
    return found


def meets_any(conditions: Sequence[Condition], tokens: Tensor, scores: tuple[Tensor, ...] | None) -> Tensor:
    """The outputs that one of the conditions ends.

    Args:
        conditions: called with the tokens and the scores; each returns a bool for every row, or one for all of them.
        tokens: (R, L), the newest one included.
        scores: a (R, V) of every step so far, if the search returns them.

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
                f"generate: stopping_criteria: returned {found}; give a bool for each of the {len(tokens)} rows"
            )
        met |= torch.as_tensor(answer, dtype=torch.bool, device=tokens.device)
    return met
