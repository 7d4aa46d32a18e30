"""Searches of a validation on a GPU.

A search under autocast casts every weight anew for every batch, and cannot use the CUDA graphs of the batch before, as
these read casts that autocast has freed. A copy of the model in the precision's type needs no autocast, so all batches
of a validation share its graphs.
"""

from typing import Any

import torch
from torch import Tensor

from bart.checkpoints.adapters import merge_adapters
from bart.checkpoints.state_dict import TIED_TO_EMBEDDINGS
from bart.generation.cuda_graphs import CudaGraphCache
from bart.modeling.modeling_bart import BartForConditionalGeneration
from bart.modeling.skip_initialization import SkipInitialization

from ..data.batch import Batch
from ..runtime.gpu_memory import free_unused_memory

_DEVICES = {"cuda"}


class ValidationSearcher:
    """Searches with the weights that a model has at the start of a validation.

    It takes 2 bytes of GPU memory per parameter in mixed precision (0.8 GB for bart-large), else only the aligned
    output layer's, and the memory of the graphs. ``free`` returns all of it.
    """

    def __init__(self, model: BartForConditionalGeneration, dtype: torch.dtype) -> None:
        """Copy a model that is not sharded; weights that have ``dtype`` already are shared with it."""
        free_unused_memory(model.device)  # graphs have memory of their own, which training's blocks may hold
        self._model = inference_copy(model, dtype)
        self._graphs = CudaGraphCache()

    @staticmethod
    def suits(device: torch.device) -> bool:
        """Return whether to use it for a model on this device; elsewhere there are no graphs to keep."""
        return device.type in _DEVICES

    def search(self, batch: Batch, settings: dict[str, Any]) -> Tensor:
        """Return the sequences (B, L) for the sources of a batch."""
        with torch.autocast(self._model.device.type, enabled=False):
            sequences = self._model.generate(
                batch.input_ids,
                batch.attention_mask,
                is_padded=batch.is_padded,
                graphs=self._graphs,
                **settings,
            )
        assert isinstance(sequences, Tensor)
        return sequences

    def free(self) -> None:
        """Free the copy and its graphs, after which this object is of no use."""
        device = self._model.device
        self._graphs.clear()
        del self._model
        free_unused_memory(device)


def inference_copy(model: BartForConditionalGeneration, dtype: torch.dtype) -> BartForConditionalGeneration:
    """Make a model with the same weights in ``dtype``, prepared for inference.

    It is made anew rather than copied: hooks, compiled layers and gradient checkpointing are not wanted in it. Adapters
    are merged into the weights.
    """
    with torch.device("meta"), SkipInitialization():
        copy = BartForConditionalGeneration(model.config)
    stored = merge_adapters(model.state_dict(), "the model")
    stored = {name: tensor for name, tensor in stored.items() if name not in TIED_TO_EMBEDDINGS}
    copy.load_state_dict({name: tensor.to(dtype) for name, tensor in stored.items()}, strict=False, assign=True)
    return copy.requires_grad_(False).eval().prepack()
