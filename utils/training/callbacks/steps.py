"""Counts optimizer steps by micro-batches.

For Lightning a run is one long epoch: ``batch_index`` counts all micro-batches of the run, and every resumed run starts
within the epoch. Epochs of the data are counted by the loader.
"""

import pytorch_lightning as pl


def ends_step(trainer: pl.Trainer, batch_index: int) -> bool:
    """Return whether this micro-batch is the last one of an optimizer step; all steps have the same number of them."""
    return (batch_index + 1) % trainer.accumulate_grad_batches == 0
