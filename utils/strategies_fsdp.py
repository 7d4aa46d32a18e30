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

from utils.checkpointing import load_checkpoint


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
        options = StateDictOptions(full_state_dict=True, cpu_offload=True)
        return get_optimizer_state_dict(self.model, plain, options=options)

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = True) -> dict[str, Any]:
        """Read the file in every process, and keep this one's slices of weights and optimizer states."""
        checkpoint = load_checkpoint(Path(checkpoint_path))
        options = StateDictOptions(full_state_dict=True)
        set_model_state_dict(self.model, checkpoint.pop("state_dict"), options=options)
        (optimizer,), (state,) = self.optimizers, checkpoint["optimizer_states"]
        set_optimizer_state_dict(self.model, optimizer, state, options=options)
        return checkpoint
