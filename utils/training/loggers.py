"""Where the numbers of a training go besides metrics.json: what --logger names."""

import importlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import CSVLogger, Logger, MLFlowLogger, TensorBoardLogger, WandbLogger

from bart.errors import InputError

from ..cli.args import TrainingArguments

_PROJECT = "bart-summarization"  # at Weights & Biases and in MLflow, unless their own variables name another


def _wandb(folder: Path, logs: str, version: str) -> Logger:
    project = os.environ.get("WANDB_PROJECT", _PROJECT)
    return WandbLogger(name=f"{folder.name} {version}", group=folder.name, project=project, save_dir=folder / logs)


def _mlflow(folder: Path, logs: str, version: str) -> Logger:
    experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME", _PROJECT)
    uri = os.environ.get("MLFLOW_TRACKING_URI", f"sqlite:///{(folder / logs / 'mlflow.db').absolute()}")
    return MLFlowLogger(experiment, run_name=f"{folder.name} {version}", tracking_uri=uri)


# The package that each needs, and what makes it for (results folder, folder of logs, name of this start of the run).
_LOGGERS: dict[str, tuple[str | None, Callable[[Path, str, str], Logger]]] = {
    "csv": (None, lambda folder, logs, version: CSVLogger(folder, name=logs, version=version)),
    "tensorboard": ("tensorboard", lambda folder, logs, version: TensorBoardLogger(folder, name=logs, version=version)),
    "wandb": ("wandb", _wandb),
    "mlflow": ("mlflow", _mlflow),
}


def check_loggers(arguments: TrainingArguments) -> None:
    """Raise InputError where a logger's package is not there."""
    for name in arguments.loggers:
        package = _LOGGERS[name][0]
        try:
            if package is not None:
                importlib.import_module(package)
        except ImportError as error:
            raise InputError(
                f"--logger {name}: the package {package} cannot be imported ({error}); install it, or leave it out"
            ) from error


def build_loggers(arguments: TrainingArguments, logs: str, version: str) -> list[Logger]:
    """The loggers of this start of a run; those that keep settings are told the arguments."""
    folder = Path(arguments.output_dir)
    loggers = {name: _LOGGERS[name][1](folder, logs, version) for name in arguments.loggers}
    for name in ("wandb", "mlflow"):
        if name in loggers:
            loggers[name].log_hyperparams(_flat(arguments.to_dict()))
    return list(loggers.values())


def _flat(settings: dict[str, Any]) -> dict[str, Any]:
    return {name: "" if value is None else value for name, value in settings.items()}
