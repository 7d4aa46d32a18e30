"""FSDP under Lightning: sharded weights and optimizer states, checkpoints like those of any other training."""

from datetime import timedelta
from pathlib import Path
from typing import Any

from pytorch_lightning.core.optimizer import LightningOptimizer
from pytorch_lightning.strategies import ModelParallelStrategy
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.optim import Optimizer

from bart.checkpoints.state_dict import TIED_TO_EMBEDDINGS

from ...checkpoint.checkpoint_io import load_checkpoint

_WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)
_WHOLE_OR_TIED = StateDictOptions(full_state_dict=True, cpu_offload=True, strict=False)


class ShardedStrategy(ModelParallelStrategy):
    """Shards as ``SummarizationModule.configure_model`` says. The first process assembles and writes whole checkpoints.

    Lightning's own reading of them unpickles what is there, and its optimizer states go by another order than those of
    a plain optimizer; here nothing but tensors is read, and states go by the parameters' names.
    """

    def __init__(self, data_parallel_size: int, timeout: timedelta) -> None:
        super().__init__(data_parallel_size, 1, save_distributed_checkpoint=False, timeout=timeout)

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """The whole state, on the first process."""
        plain = optimizer._optimizer if isinstance(optimizer, LightningOptimizer) else optimizer
        return get_optimizer_state_dict(self.model, plain, options=_WHOLE)

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = True) -> dict[str, Any]:
        """Read the file in every process, and keep this one's slices of weights and optimizer states."""
        checkpoint = load_checkpoint(Path(checkpoint_path))
        weights = checkpoint.pop("state_dict")
        for name in TIED_TO_EMBEDDINGS:  # torch would slice them once and copy them thrice
            weights.pop(f"model.{name}", None)
        missing = set_model_state_dict(self.model, weights, options=_WHOLE_OR_TIED).missing_keys
        assert {name.removeprefix("model.") for name in missing} <= set(TIED_TO_EMBEDDINGS), missing
        (optimizer,), (state,) = self.optimizers, checkpoint["optimizer_states"]
        set_optimizer_state_dict(self.model, optimizer, state, options=_WHOLE)
        return checkpoint
