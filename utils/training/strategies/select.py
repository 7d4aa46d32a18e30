"""Chooses Lightning's strategy: how the processes of a training work together."""

from datetime import timedelta

from pytorch_lightning.strategies import DDPStrategy, Strategy

from bart.configuration.configuration_bart import BartConfig
from bart.errors import InputError

from ...cli.training_args import DistributedSettings
from .apex_ddp import ApexStrategy, find_apex_ddp
from .fsdp import ShardedStrategy

_LAYERDROP = "every process must run every layer, and the configuration has a layerdrop above 0"


def check_strategy(processes: DistributedSettings, config: BartConfig, on_gpu: bool) -> None:
    """Raise InputError if the strategy does not go with the model or the machine."""
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
    """Make the strategy that the flags ask for; ``auto`` for a single process that shards nothing."""
    timeout = timedelta(seconds=settings.timeout)
    if settings.strategy == "fsdp":
        return ShardedStrategy(data_parallel_size=processes, timeout=timeout)
    if processes == 1:
        return "auto"
    if settings.ddp_backend == "apex":
        return ApexStrategy(timeout=timeout)
    # Without layerdrop every step uses every parameter in the same order. DDP learns this order in the first backward
    # pass, which must send its gradients; torch fails an assertion where that one is accumulated unsent. As views into
    # the buckets that are sent, gradients take memory once.
    return DDPStrategy(
        static_graph=not drops_layers(config) and accumulation == 1,
        find_unused_parameters=drops_layers(config),
        gradient_as_bucket_view=True,
        timeout=timeout,
    )


def drops_layers(config: BartConfig) -> bool:
    """Whether training leaves out layers at random, others in each process: their parameters have no gradients."""
    return max(config.encoder_layerdrop, config.decoder_layerdrop) > 0
