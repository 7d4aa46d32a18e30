"""FSDP under Lightning: weights and optimizer states are sharded, checkpoints are those of any other training."""

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

_FULL = StateDictOptions(full_state_dict=True, cpu_offload=True)
_FULL_WITHOUT_TIED = StateDictOptions(full_state_dict=True, cpu_offload=True, strict=False)


class ShardedStrategy(ModelParallelStrategy):
    """FSDP with checkpoints that are complete: the first process gathers and writes them.

    ``SummarizationModule.configure_model`` shards the model. This class replaces Lightning's reading of checkpoints,
    which unpickles anything and expects optimizer states in another order than a plain optimizer's: here only tensors
    and plain data are read, and states belong to the names of parameters.
    """

    def __init__(self, data_parallel_size: int, timeout: timedelta) -> None:
        """Shard over ``data_parallel_size`` processes, which wait for each other up to ``timeout``."""
        super().__init__(data_parallel_size, 1, save_distributed_checkpoint=False, timeout=timeout)

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """Gather the full state of the optimizer on the first process."""
        plain = optimizer._optimizer if isinstance(optimizer, LightningOptimizer) else optimizer
        return get_optimizer_state_dict(self.model, plain, options=_FULL)

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = True) -> dict[str, Any]:
        """Read the file in every process, and keep this process's slices of weights and optimizer states."""
        checkpoint = load_checkpoint(Path(checkpoint_path))
        weights = checkpoint.pop("state_dict")
        for name in TIED_TO_EMBEDDINGS:  # copies of the embeddings, which torch would not treat as one tensor
            weights.pop(f"model.{name}", None)
        missing = set_model_state_dict(self.model, weights, options=_FULL_WITHOUT_TIED).missing_keys
        assert {name.removeprefix("model.") for name in missing} <= set(TIED_TO_EMBEDDINGS), missing
        (optimizer,), (state,) = self.optimizers, checkpoint["optimizer_states"]
        set_optimizer_state_dict(self.model, optimizer, state, options=_FULL)
        return checkpoint
