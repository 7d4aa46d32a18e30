"""Chooses Lightning's strategy, by which the processes of a training work together."""

from datetime import timedelta

from pytorch_lightning.strategies import DDPStrategy, Strategy

from bart.configuration.configuration_bart import BartConfig
from bart.errors import InputError

from ...cli.training_args import DistributedSettings
from .apex_ddp import ApexStrategy, find_apex_ddp
from .fsdp import ShardedStrategy

_LAYERDROP = "every process must run every layer, but the configuration has a layerdrop above 0"


def check_strategy(processes: DistributedSettings, config: BartConfig, on_gpu: bool) -> None:
    """Raise InputError if the strategy does not work with the model or on the machine."""
    if processes.strategy == "fsdp" and drops_layers(config):
        raise InputError(f"--strategy fsdp: {_LAYERDROP}; give --strategy ddp")
    if processes.ddp_backend == "apex":
        if not on_gpu:
            raise InputError("--ddp_backend apex: needs GPUs; give native on a CPU")
        if drops_layers(config):
            raise InputError(f"--ddp_backend apex: {_LAYERDROP}; give native")
        find_apex_ddp()


def training_strategy(
    settings: DistributedSettings, config: BartConfig, processes: int, accumulation: int
) -> str | Strategy:
    """Make the strategy that the flags ask for, or return ``auto`` for a single process without sharding.

    Args:
        processes: number of processes that train together.
        accumulation: micro-batches per optimizer step.
    """
    # FSDP, a single process, apex's DDP.
    timeout = timedelta(seconds=settings.timeout)
    if settings.strategy == "fsdp":
        return ShardedStrategy(data_parallel_size=processes, timeout=timeout)
    if processes == 1:
        return "auto"
    if settings.ddp_backend == "apex":
        return ApexStrategy(timeout=timeout)

    # Torch's DDP. Without layerdrop every step uses all parameters in the same order: the graph is static. DDP records
    # it in the first backward pass, and fails an assertion if that one does not send its gradients, as with
    # accumulation. Gradients that are views into the buckets that are sent take memory once instead of twice.
    return DDPStrategy(
        static_graph=not drops_layers(config) and accumulation == 1,
        find_unused_parameters=drops_layers(config),
        gradient_as_bucket_view=True,
        timeout=timeout,
    )


def drops_layers(config: BartConfig) -> bool:
    """Return whether training skips random layers, whose parameters then have no gradients in this process."""
    return max(config.encoder_layerdrop, config.decoder_layerdrop) > 0
