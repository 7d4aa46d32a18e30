"""The sources of a search: tokens for the encoder, or the states that it has already computed."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from bart.errors import InputError
from bart.generation.model import SearchableModel


class Sources:
    """A batch of sources, checked. Shapes: B sentences, S source length, D model."""

    def __init__(
        self,
        input_ids: Tensor | None,
        attention_mask: Tensor | None,
        encoder_outputs: Any,
        pad_token_id: int,
        is_padded: bool | None = None,
    ) -> None:
        """Check that the arguments belong together.

        Args:
            input_ids: (B, S); None if there are ``encoder_outputs``.
            attention_mask: (B, S), 0 for padding; None: every pad token in ``input_ids``, if given, is padding.
            encoder_outputs: states (B, S, D), or a tuple, mapping or object of transformers that holds them.
            pad_token_id: the pad token of the model.
            is_padded: whether anything is padding, if that is known: finding out makes the host wait for a GPU.

        Raises:
            InputError: nothing is given, or the shapes contradict each other.
        """
        self.input_ids = input_ids
        self._states = _states(encoder_outputs)
        if input_ids is None and self._states is None:
            raise InputError("generate: give input_ids or encoder_outputs")
        given = input_ids if self._states is None else self._states
        assert given is not None
        self.device = given.device
        self.shape = (given.size(0), given.size(1))
        if attention_mask is None and input_ids is not None:
            attention_mask = input_ids != pad_token_id
        for name, tensor in (("input_ids", input_ids), ("attention_mask", attention_mask)):
            if tensor is not None and tensor.shape != self.shape:
                raise InputError(f"generate: {name} has shape {tuple(tensor.shape)}; give {self.shape}")
        if is_padded is None:
            is_padded = attention_mask is not None and not bool(attention_mask.all())
        self.mask = attention_mask if is_padded else None

    def encode(self, model: SearchableModel) -> Tensor:
        """Return the encoder's states (B, S, D), from the model unless they were given."""
        if self._states is not None:
            return self._states.to(model.dtype)
        return model.get_encoder()(self.input_ids, self.mask)


def _states(encoder_outputs: Any) -> Tensor | None:
    """Return the states (B, S, D) of an encoder's output, or None for None. Raises InputError if it has none."""
    if encoder_outputs is None:
        return None
    states = encoder_outputs
    if isinstance(states, Mapping):
        states = states.get("last_hidden_state")
    elif hasattr(states, "last_hidden_state"):
        states = states.last_hidden_state
    elif isinstance(states, tuple | list):
        states = next(iter(states), None)
    if isinstance(states, Tensor) and states.dim() == 3:
        return states
    raise InputError("generate: encoder_outputs: give the encoder's states, shape (sentences, length, d_model)")
