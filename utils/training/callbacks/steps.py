"""How the callbacks count: micro-batches and optimizer steps.

Lightning sees a run as one long epoch, so that ``batch_index`` counts all micro-batches and every resume is mid-epoch;
epochs of data are counted by the loader.
"""

import pytorch_lightning as pl


def ends_step(trainer: pl.Trainer, batch_index: int) -> bool:
    """Whether the optimizer takes its step after this micro-batch: every step has the same number of them."""
    return (batch_index + 1) % trainer.accumulate_grad_batches == 0
