"""The loggers that --logger names: they receive the same numbers as metrics.json."""

import importlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import CSVLogger, Logger, MLFlowLogger, TensorBoardLogger, WandbLogger

from bart.errors import InputError

from ..checkpoint.run_folder import next_log_version
from ..cli.training_args import RunSettings
from ..io.run_files import LOGS_FOLDER

_PROJECT = "bart-summarization"  # for Weights & Biases and MLflow, if their environment variables name no other


def _wandb(folder: Path, logs: str, version: str) -> Logger:
    project = os.environ.get("WANDB_PROJECT", _PROJECT)
    return WandbLogger(name=f"{folder.name} {version}", group=folder.name, project=project, save_dir=folder / logs)


def _mlflow(folder: Path, logs: str, version: str) -> Logger:
    experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME", _PROJECT)
    uri = os.environ.get("MLFLOW_TRACKING_URI", f"sqlite:///{(folder / logs / 'mlflow.db').absolute()}")
    return MLFlowLogger(experiment, run_name=f"{folder.name} {version}", tracking_uri=uri)


# For each logger: the package that it needs, and a function (results folder, name of the logs' folder, version) that
# makes it. The version names this start of the run.
_LOGGERS: dict[str, tuple[str | None, Callable[[Path, str, str], Logger]]] = {
    "csv": (None, lambda folder, logs, version: CSVLogger(folder, name=logs, version=version)),
    "tensorboard": ("tensorboard", lambda folder, logs, version: TensorBoardLogger(folder, name=logs, version=version)),
    "wandb": ("wandb", _wandb),
    "mlflow": ("mlflow", _mlflow),
}


def check_loggers(run: RunSettings) -> None:
    """Raise InputError if the package of a logger is missing."""
    for name in run.loggers:
        package = _LOGGERS[name][0]
        try:
            if package is not None:
                importlib.import_module(package)
        except ImportError as error:
            raise InputError(
                f"--logger {name}: the package {package} cannot be imported ({error}); install it, or give another"
            ) from error


def build_loggers(run: RunSettings, flags: dict[str, Any]) -> list[Logger]:
    """Make the loggers for this start of a run; wandb and mlflow record all ``flags``."""
    folder = Path(run.output_dir)
    version = next_log_version(folder)
    loggers = {name: _LOGGERS[name][1](folder, LOGS_FOLDER, version) for name in run.loggers}
    for name in ("wandb", "mlflow"):
        if name in loggers:
            loggers[name].log_hyperparams(_flat(flags))
    return list(loggers.values())


def _flat(settings: dict[str, Any]) -> dict[str, Any]:
    return {name: "" if value is None else value for name, value in settings.items()}
