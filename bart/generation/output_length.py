"""How many tokens the outputs of a search have so far: a number of the host or, for CUDA graphs, one of the device.

Everything in a step that depends on the length is here.
Shapes: L longest output, P prompt tokens; ``...`` are any dimensions before.
"""

from typing import Protocol

import torch
from torch import Tensor

from bart.configuration.generation_config import GenerationConfig


class OutputLength(Protocol):
    """The length of all running outputs."""

    def so_far(self, tokens: Tensor) -> Tensor:
        """Return the tokens that are written, of ``tokens`` (..., L)."""

    def write_token(self, tokens: Tensor, new: Tensor) -> None:
        """Write the newest tokens (...) behind those so far, into ``tokens`` (..., L)."""

    def write_row(self, rows: Tensor, new: Tensor) -> None:
        """Write the newest entries (...) behind those so far, into ``rows`` (..., L - P)."""

    def advance(self) -> None:
        """Count one token more."""

    def is_longest(self) -> bool | Tensor:
        """Return whether outputs have the greatest length."""

    def penalize(self, scores: Tensor) -> Tensor:
        """Divide ``scores``, of any shape, by the number of tokens after the prompt to the power of the penalty."""


class HostLength:
    """A length that the host knows. Operations differ from step to step."""

    def __init__(self, settings: GenerationConfig, prompt_length: int) -> None:
        assert settings.max_length is not None
        self._longest, self._penalty = settings.max_length, settings.length_penalty
        self._prompt = self._length = prompt_length

    def so_far(self, tokens: Tensor) -> Tensor:
        return tokens[..., : self._length]

    def write_token(self, tokens: Tensor, new: Tensor) -> None:
        tokens[..., self._length] = new

    def write_row(self, rows: Tensor, new: Tensor) -> None:
        rows[..., self._length - self._prompt] = new

    def advance(self) -> None:
        self._length += 1

    def is_longest(self) -> bool | Tensor:
        return self._length >= self._longest

    def penalize(self, scores: Tensor) -> Tensor:
        return scores / float((self._length - self._prompt) ** self._penalty)


class StaticLength:
    """A length that the device knows. All steps have the same operations on the same tensors."""

    def __init__(self, settings: GenerationConfig, prompt_length: int, device: torch.device) -> None:
        assert settings.max_length is not None
        self.tensor = torch.tensor([prompt_length], device=device)
        self._longest, self._prompt = settings.max_length, prompt_length
        self._places = torch.arange(settings.max_length, device=device)
        lengths = range(1, settings.max_length - prompt_length + 1)
        divisors = [1.0, *(float(length**settings.length_penalty) for length in lengths)]
        self.divisors = torch.tensor(divisors, device=device)  # by the number of tokens after the prompt

    def reset(self) -> None:
        """Go back to the length of the prompt."""
        self.tensor.fill_(self._prompt)

    def so_far(self, tokens: Tensor) -> Tensor:
        """Return ``tokens`` (..., L) with the first one of each row in place of those that are not written."""
        return tokens.where(self._places < self.tensor, tokens[..., :1])

    def newest(self, tokens: Tensor, count: int = 1) -> Tensor:
        """Return the last ``count`` of the tokens that are written, (..., count); in front the first one if too few."""
        if count == 1:
            return tokens.index_select(-1, self.tensor - 1)
        last = self.tensor + torch.arange(-count, 0, device=tokens.device)
        return tokens.index_select(-1, last.clamp_(min=0))

    def write_token(self, tokens: Tensor, new: Tensor) -> None:
        tokens.index_copy_(-1, self.tensor, new[..., None])

    def write_row(self, rows: Tensor, new: Tensor) -> None:
        rows.index_copy_(-1, self.tensor - self._prompt, new[..., None])

    def advance(self) -> None:
        self.tensor += 1

    def is_longest(self) -> bool | Tensor:
        return self.tensor >= self._longest

    def penalize(self, scores: Tensor) -> Tensor:
        return scores / self.divisors.index_select(0, self.tensor - self._prompt)
