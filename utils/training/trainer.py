"""Lightning's trainer, as this recipe sets it up."""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.plugins.environments import LightningEnvironment, TorchElasticEnvironment

from bart.configuration.configuration_bart import BartConfig

from ..checkpoint.checkpoint_io import AtomicCheckpointIO
from ..checkpoint.run_folder import next_log_version
from ..cli.args import TrainingArguments
from ..data.training_data import TokenizedData
from ..io.run_files import LOGS_FOLDER, METRICS_FILE
from ..runtime.world import WorldInfo
from .amp import scales_loss
from .callbacks.checkpoint_saver import CheckpointSaver
from .callbacks.data_consistency import CheckSameData
from .callbacks.early_stopping import EarlyStopping, RngState, ValidateAtEnd
from .callbacks.metrics_history import TrainingHistory
from .callbacks.non_finite import StopOnNonFinite
from .callbacks.progress import Progress
from .loggers import build_loggers
from .precision_plugin import precision_plugin
from .strategies.select import training_strategy


def build_trainer(
    arguments: TrainingArguments, config: BartConfig, data: TokenizedData, world: WorldInfo
) -> pl.Trainer:
    """A trainer for one long epoch of ``data.total_steps`` optimizer steps."""
    folder, order = Path(arguments.output_dir), data.order
    kwargs = trainer_kwargs(arguments, config, world)
    kwargs["plugins"].append(AtomicCheckpointIO())
    micro_batches = data.total_steps * arguments.gradient_accumulation_steps
    return pl.Trainer(
        **kwargs,
        max_steps=data.total_steps,
        val_check_interval=min(order.validation_interval(arguments.val_check_interval), micro_batches),
        num_sanity_val_steps=arguments.num_sanity_val_steps,
        callbacks=build_callbacks(arguments, data),
        logger=build_loggers(arguments, LOGS_FOLDER, next_log_version(folder)),
        default_root_dir=folder,
    )


def build_callbacks(arguments: TrainingArguments, data: TokenizedData) -> list[Callback]:
    """In the order in which they act; see ``utils.training.callbacks`` for why it is this one."""
    folder, steps_per_epoch = Path(arguments.output_dir), data.order.steps_per_epoch
    save_every = arguments.save_checkpoint_steps or max(1, data.total_steps // 20)
    history = TrainingHistory(folder / METRICS_FILE, arguments.log_every_n_steps, steps_per_epoch)
    return [
        CheckSameData(data.train.examples.checksum()),
        RngState(),
        StopOnNonFinite(data.train.examples, arguments.log_every_n_steps, scales_loss(arguments)),
        history,
        ValidateAtEnd(),
        EarlyStopping(
            arguments.val_metric, arguments.early_stopping_patience, arguments.min_epochs * steps_per_epoch
        ),
        Progress(history),
        CheckpointSaver(folder, save_every, arguments.save_top_k, arguments.val_metric, steps_per_epoch),
    ]


def trainer_kwargs(arguments: TrainingArguments, config: BartConfig, world: WorldInfo) -> dict[str, Any]:
    """The arguments of Lightning's trainer that say where and how it computes: a training's and a dry run's."""
    # Named, lest Lightning finds SLURM: it would ask for one SLURM task per process, and re-queue jobs by itself.
    environment = TorchElasticEnvironment() if TorchElasticEnvironment.detect() else LightningEnvironment()
    return {
        "accelerator": "gpu" if world.on_gpu else "cpu",
        "devices": world.processes_per_machine,
        "num_nodes": world.machines,
        "strategy": training_strategy(arguments, config, world.processes),
        "plugins": [environment, precision_plugin(arguments, "cuda" if world.on_gpu else "cpu")],
        "max_epochs": 1,
        "accumulate_grad_batches": arguments.gradient_accumulation_steps,
        "use_distributed_sampler": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        # Shards that were gathered in inference mode cannot be trained with afterwards.
        "inference_mode": arguments.strategy != "fsdp",
    }
