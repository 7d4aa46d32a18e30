"""How the processes of a training work together: what Lightning calls a strategy."""

from datetime import timedelta
from typing import TYPE_CHECKING

from bart.errors import InputError

from ...cli.args import TrainingArguments

if TYPE_CHECKING:
    from pytorch_lightning.strategies import Strategy

    from bart.configuration.configuration_bart import BartConfig

_LAYERDROP = "every process must run every layer, and the configuration has a layerdrop above 0"


def check_strategy(arguments: TrainingArguments, config: "BartConfig", on_gpu: bool) -> None:
    """Raise InputError where the model or the other flags do not go with how processes are to work together."""
    if arguments.strategy == "fsdp":
        if arguments.ddp_backend == "apex":
            raise InputError("--ddp_backend apex: is a way of --strategy ddp; give native with fsdp")
        if arguments.fp16:
            raise InputError("--strategy fsdp: has no loss scaling; give --bf16, --tf32 or neither instead of --fp16")
        if arguments.optimizer != "adamw":
            raise InputError(f"--strategy fsdp: --optimizer {arguments.optimizer} needs whole matrices; give adamw")
        if arguments.eval_beams > 0:
            raise InputError("--strategy fsdp: a model in slices cannot search; give --eval_beams 0")
        if drops_layers(config):
            raise InputError(f"--strategy fsdp: {_LAYERDROP}; give --strategy ddp")
    if arguments.ddp_backend == "apex":
        from .apex_ddp import find_apex_ddp

        if not on_gpu:
            raise InputError("--ddp_backend apex: needs GPUs; give native on a CPU")
        if drops_layers(config):
            raise InputError(f"--ddp_backend apex: {_LAYERDROP}; give native")
        find_apex_ddp()


def training_strategy(arguments: TrainingArguments, config: "BartConfig", processes: int) -> "str | Strategy":
    """The strategy that the flags ask for; for a single process that shards nothing, none."""
    from pytorch_lightning.strategies import DDPStrategy

    timeout = timedelta(seconds=arguments.timeout)
    if arguments.strategy == "fsdp":
        from .fsdp import ShardedStrategy

        return ShardedStrategy(data_parallel_size=processes, timeout=timeout)
    if processes == 1:
        return "auto"
    if arguments.ddp_backend == "apex":
        from .apex_ddp import ApexStrategy

        return ApexStrategy(timeout=timeout)
    # Without layerdrop every step uses every parameter in the same order. DDP learns this order in the first backward
    # pass, which must send its gradients; torch fails an assertion where that one is accumulated unsent. As views into
    # the buckets that are sent, gradients take memory once.
    return DDPStrategy(
        static_graph=not drops_layers(config) and arguments.gradient_accumulation_steps == 1,
        find_unused_parameters=drops_layers(config),
        gradient_as_bucket_view=True,
        timeout=timeout,
    )


def drops_layers(config: "BartConfig") -> bool:
    """Whether training leaves layers out by chance, others in each process: their parameters have no gradients then."""
    return max(config.encoder_layerdrop, config.decoder_layerdrop) > 0
