"""Some steps of the real module in Lightning's trainer, on a model and data small enough for hundreds of them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.plugins.precision import Precision

from bart.modeling.modeling_bart import BartForConditionalGeneration
from tests.tiny_setup import tiny_config
from utils.checkpoint.checkpoint_io import AtomicCheckpointIO
from utils.cli.options import from_values
from utils.cli.training_args import TrainingArguments
from utils.data.batch import BatchDataset
from utils.data.batch_sampler import LengthBucketSampler
from utils.data.examples import Origin, PairExamples
from utils.data.loaders import TrainingLoader
from utils.data.tokens.token_array import TokenStore
from utils.training.module import SummarizationModule

CONFIG = tiny_config().copy(dropout=0.0)
_TEXTS = 30


def _random_texts(seed: int, longest: int) -> TokenStore:
    """Between 3 and ``longest`` tokens each: <s>, anything, </s>."""
    rng = np.random.default_rng(seed)
    texts = [np.r_[0, rng.integers(4, CONFIG.vocab_size, rng.integers(1, longest - 1)), 2] for _ in range(_TEXTS)]
    return TokenStore(np.concatenate(texts).astype(np.uint16), np.cumsum([0, *map(len, texts)]))


EXAMPLES = PairExamples(_random_texts(1, 40), _random_texts(2, 20), Origin(Path("train.source"), np.arange(0)))
DATASET = BatchDataset(EXAMPLES, CONFIG.pad_token_id, CONFIG.max_position_embeddings)


def batch_order(batch_size: int, accumulation: int, group_by_length: bool = True) -> LengthBucketSampler:
    lengths = EXAMPLES.source_lengths, EXAMPLES.target_lengths
    return LengthBucketSampler(*lengths, batch_size, accumulation, 7, group_by_length)


def start_model() -> BartForConditionalGeneration:
    torch.manual_seed(0)
    return BartForConditionalGeneration(CONFIG)


def start_module(total_steps: int, **arguments: Any) -> SummarizationModule:
    """There is no validation here: neither tokenizer nor references are used."""
    given = from_values(TrainingArguments, arguments)
    return SummarizationModule(
        start_model(), given.optimization, given.validation, total_steps, None, [], given.to_dict()
    )


class SaveAt(Callback):
    """Saves a checkpoint after the optimizer step of that number."""

    def __init__(self, step: int, path: Path) -> None:
        self.step = step
        self.path = path

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_step == self.step and not self.path.exists():
            trainer.save_checkpoint(self.path)


def fit(
    module: SummarizationModule,
    order: LengthBucketSampler,
    precision: Precision,
    steps: int,
    resume: Path | None = None,
    callbacks: list[Callback] | None = None,
    accelerator: str = "cpu",
) -> pl.Trainer:
    """Train up to ``steps`` optimizer steps."""
    trainer = pl.Trainer(
        accelerator=accelerator,
        devices=1,
        max_steps=steps,
        max_epochs=1,
        plugins=[precision, AtomicCheckpointIO()],
        callbacks=callbacks,
        accumulate_grad_batches=order.accumulation,
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    loader = TrainingLoader(DATASET, order, module.total_steps, num_workers=0, pin_memory=False, data_checksum=0)
    trainer.fit(module, loader, ckpt_path=resume, weights_only=True)
    assert trainer.global_step == steps
    return trainer
