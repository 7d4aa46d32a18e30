"""Checks that the processes of a run learn from the same data."""

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback

from bart.errors import InputError


class CheckSameData(Callback):
    """Callback that refuses to train if the processes have read different data.

    Each process reads by itself, and files or the hub may change in the meantime.
    """

    def __init__(self, checksum: int) -> None:
        """Take the checksum of this process's training data."""
        self.checksum = checksum

    def on_fit_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Compare the checksums. If they differ, every process raises InputError, so that none waits for another."""
        checksums = trainer.strategy.all_gather(torch.tensor(self.checksum, device=module.device))
        if (checksums != self.checksum).any():
            raise InputError(
                "--data_dir: the processes of this run have read different training data; start again, and name a data "
                "set of the hub as OWNER/NAME@COMMIT"
            )
