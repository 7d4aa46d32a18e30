"""Agreement of all processes of a training on a signal that ends it, which may have come to one of them alone."""

import pytorch_lightning as pl
import torch

from ..runtime.signals import Interrupted, noted_signal


def agreed_signal(trainer: pl.Trainer) -> int:
    """Return the number of a signal that a process has noted, 0 for none. All processes call this together."""
    if trainer.world_size == 1:
        return noted_signal()
    noted = torch.tensor(noted_signal(), device=trainer.strategy.root_device)
    return int(trainer.strategy.reduce(noted, reduce_op="max").item())


def leave_if_told(trainer: pl.Trainer) -> None:
    """Raise Interrupted in all processes if one of them has noted a signal. All call this together."""
    number = agreed_signal(trainer)
    if number:
        raise Interrupted(number, all_agree=True)
