"""Builds Lightning's trainer and its callbacks."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import Logger
from pytorch_lightning.plugins.environments import LightningEnvironment, TorchElasticEnvironment
from torch.utils.data import DataLoader

from bart.configuration.configuration_bart import BartConfig
from bart.modeling.modeling_bart import BartForConditionalGeneration

from ..checkpoint.checkpoint_io import AtomicCheckpointIO
from ..cli.training_args import (
    DistributedSettings,
    MixedPrecisionSettings,
    RunSettings,
    ValidationSettings,
)
from ..data.training_data import TokenizedData
from ..io.run_files import METRICS_FILE
from ..runtime.world import WorldInfo
from .callbacks.checkpoint_saver import CheckpointSaver
from .callbacks.data_consistency import CheckSameData
from .callbacks.early_stopping import EarlyStopping, ValidateAtEnd
from .callbacks.metrics_history import TrainingHistory
from .callbacks.non_finite import StopOnNonFinite
from .callbacks.progress import Progress
from .callbacks.rng_state import RngState
from .module import SummarizationModule
from .precision_plugin import precision_plugin
from .strategies.select import training_strategy


def build_trainer(
    trainer_kwargs: dict[str, Any],
    data: TokenizedData,
    validation: ValidationSettings,
    folder: Path,
    callbacks: list[Callback],
    loggers: list[Logger],
) -> pl.Trainer:
    """Build the trainer. For Lightning, the run is one epoch of ``data.total_steps`` optimizer steps.

    Args:
        trainer_kwargs: the result of ``shared_trainer_kwargs``.
        folder: the results folder.
    """
    micro_batches = data.total_steps * trainer_kwargs["accumulate_grad_batches"]
    return pl.Trainer(
        **{**trainer_kwargs, "plugins": [*trainer_kwargs["plugins"], AtomicCheckpointIO()]},
        max_steps=data.total_steps,
        val_check_interval=min(data.sampler.validation_interval(validation.val_check_interval), micro_batches),
        num_sanity_val_steps=validation.num_sanity_val_steps,
        callbacks=callbacks,
        logger=loggers,
        default_root_dir=folder,
    )


def build_callbacks(
    run: RunSettings, validation: ValidationSettings, data: TokenizedData, scales_loss: bool, with_divergence: bool
) -> list[Callback]:
    """Build the callbacks in the order in which they act; ``utils.training.callbacks`` explains the order.

    Args:
        scales_loss: whether gradients may overflow because the loss is scaled.
        with_divergence: whether steps have a divergence of R-Drop.
    """
    folder, steps_per_epoch = Path(run.output_dir), data.sampler.steps_per_epoch
    save_every = run.save_checkpoint_steps or max(1, data.total_steps // 20)
    history = TrainingHistory(folder / METRICS_FILE, run.log_every_n_steps, steps_per_epoch, with_divergence)
    return [
        CheckSameData(data.train.examples.checksum()),
        RngState(),
        StopOnNonFinite(data.train.examples, run.log_every_n_steps, scales_loss),
        history,
        ValidateAtEnd(),
        EarlyStopping(
            validation.val_metric, validation.early_stopping_patience, validation.min_epochs * steps_per_epoch
        ),
        Progress(history),
        CheckpointSaver(
            folder, save_every, run.save_top_k, validation.val_metric, steps_per_epoch, run.average_checkpoints
        ),
    ]


def validate_alone(
    model: BartForConditionalGeneration,
    trained: SummarizationModule,
    loader: DataLoader,
    precision: MixedPrecisionSettings,
    on_gpu: bool,
) -> dict[str, float]:
    """Validate a model as a training has validated its own, in this process alone.

    Args:
        model: to validate.
        trained: the module of the training, which has ended.
        loader: all batches of a validation.

    Returns:
        the figures of the validation by name
    """
    module = SummarizationModule(
        model,
        trained.optimization,
        trained.validation,
        trained.total_steps,
        trained.tokenizer,
        trained.references,
        trained.flags,
    )
    native = replace(precision, amp_backend="native")  # apex prepares a model together with its optimizer
    trainer = pl.Trainer(
        accelerator="gpu" if on_gpu else "cpu",
        devices=1,
        plugins=[LightningEnvironment(), precision_plugin(native, "cuda" if on_gpu else "cpu")],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.validate(module, loader, verbose=False)
    return module.validation_metrics


def shared_trainer_kwargs(
    precision: MixedPrecisionSettings,
    processes: DistributedSettings,
    accumulation: int,
    config: BartConfig,
    world: WorldInfo,
) -> dict[str, Any]:
    """Return the arguments of Lightning's trainer that a training and a dry run share.

    Args:
        accumulation: micro-batches per optimizer step.
    """
    # The environment is given, because Lightning would otherwise detect SLURM: it would then require one SLURM task per
    # process, and put jobs into the queue again by itself.
    environment = TorchElasticEnvironment() if TorchElasticEnvironment.detect() else LightningEnvironment()
    return {
        "accelerator": "gpu" if world.on_gpu else "cpu",
        "devices": world.processes_per_machine,
        "num_nodes": world.machines,
        "strategy": training_strategy(processes, config, world.processes, accumulation),
        "plugins": [environment, precision_plugin(precision, "cuda" if world.on_gpu else "cpu")],
        "max_epochs": 1,
        "accumulate_grad_batches": accumulation,
        "use_distributed_sampler": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        # Shards that are gathered in inference mode could not be used in training afterwards.
        "inference_mode": processes.strategy != "fsdp",
    }
