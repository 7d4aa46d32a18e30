"""Whether the processes of a run learn from the same data."""

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback

from bart.errors import InputError


class CheckSameData(Callback):
    """Ends a run whose processes have read different data: each reads for itself, and files or the hub may change."""

    def __init__(self, checksum: int) -> None:
        self.checksum = checksum  # of this process's training data

    def on_fit_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """All processes raise InputError, so that none waits for another."""
        checksums = trainer.strategy.all_gather(torch.tensor(self.checksum, device=module.device))
        if (checksums != self.checksum).any():  # then each process finds another that differs
            raise InputError(
                "--data_dir: the processes of this run have read different training data; start again, a data set of "
                "the hub as OWNER/NAME@COMMIT"
            )
