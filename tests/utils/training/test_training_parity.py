"""Training steps (loss, accumulation, clipping, AdamW, schedule) against transformers' model and plain torch."""

from typing import Any

import pytest
import torch
import transformers
from pytorch_lightning.plugins.precision import DoublePrecision, Precision
from torch import Tensor

from bart.modeling.modeling_bart import IGNORE_INDEX
from tests.tiny_training import CONFIG, DATASET, batch_order, fit, start_model, start_module
from utils.data.batch import Batch
from utils.data.batch_sampler import LengthBucketSampler

STEPS = 20
LABEL_SMOOTHING, WEIGHT_DECAY, CLIP = 0.1, 0.1, 0.1
LEARNING_RATE, FINAL_LEARNING_RATE, WARMUP = 1e-3, 1e-7, 4


def train(order: LengthBucketSampler, precision: Precision) -> dict[str, Tensor]:
    """Return the weights after STEPS steps of the real module in the real trainer."""
    module = start_module(
        STEPS,
        learning_rate=LEARNING_RATE,
        warmup_steps=WARMUP,
        weight_decay=WEIGHT_DECAY,
        label_smoothing=LABEL_SMOOTHING,
        gradient_clip_val=CLIP,
    )
    fit(module, order, precision, STEPS)
    return module.model.state_dict()


def train_with_transformers(order: LengthBucketSampler, dtype: torch.dtype) -> dict[str, Tensor]:
    """Return the weights after STEPS steps as the reference recipe and transformers' Trainer would take them."""
    shape = {name: value for name, value in CONFIG.to_dict().items() if name not in CONFIG.search_settings()}
    model = transformers.BartForConditionalGeneration(transformers.BartConfig(**shape)).train()
    model.load_state_dict(start_model().state_dict(), strict=False)
    model.to(dtype)
    decayed = [parameter for parameter in model.parameters() if parameter.ndim >= 2]
    others = [parameter for parameter in model.parameters() if parameter.ndim < 2]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": WEIGHT_DECAY}, {"params": others, "weight_decay": 0.0}], eps=1e-8
    )
    for step, indices in enumerate(order.batches(0, STEPS)):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step)
        optimizer.zero_grad()
        reference_loss(model, DATASET[indices]).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
    return model.state_dict()


def learning_rate(step: int) -> float:
    """Compute the learning rate: a linear rise, then a linear decay to the final rate."""
    if step < WARMUP:
        return LEARNING_RATE * step / WARMUP
    return FINAL_LEARNING_RATE + (LEARNING_RATE - FINAL_LEARNING_RATE) * (STEPS - step) / (STEPS - WARMUP)


def reference_loss(model: Any, batch: Batch) -> Tensor:
    """Compute the mean loss over target tokens, with label smoothing as fairseq defines it."""
    logits = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask, labels=batch.labels).logits
    log_probabilities = logits.log_softmax(-1)
    is_target = batch.labels != IGNORE_INDEX
    targets = batch.labels.masked_fill(~is_target, 0)
    likelihood = log_probabilities.gather(-1, targets[..., None])[..., 0]
    smooth = log_probabilities.mean(-1)
    losses = -((1 - LABEL_SMOOTHING) * likelihood + LABEL_SMOOTHING * smooth)
    return losses[is_target].mean()


@pytest.fixture(scope="module")
def whole_batches() -> dict[str, Tensor]:
    return train(batch_order(batch_size=8, accumulation=1), DoublePrecision())


def test_same_weights_in_float64(whole_batches: dict[str, Tensor]) -> None:
    theirs = train_with_transformers(batch_order(batch_size=8, accumulation=1), torch.float64)
    for name, weight in whole_batches.items():
        torch.testing.assert_close(weight, theirs[name], rtol=0, atol=1e-9, msg=name)
    unmoved = [name for name, weight in start_model().state_dict().items() if torch.equal(weight, theirs[name].float())]
    assert unmoved == ["final_logits_bias"]  # a buffer


def test_nearly_the_same_weights_in_float32() -> None:
    order = batch_order(batch_size=8, accumulation=1)
    ours, theirs = train(order, Precision()), train_with_transformers(order, torch.float32)
    for name, weight in ours.items():
        if "k_proj.bias" in name or name == "final_logits_bias":
            continue  # the true gradient of a key's bias is zero, so Adam amplifies rounding; the other is not trained
        assert (weight - theirs[name]).norm() < 1e-4 * theirs[name].norm(), name


@pytest.mark.parametrize("group_by_length", [True, False])
@pytest.mark.parametrize(("batch_size", "accumulation"), [(4, 2), (2, 4), (1, 8)])
def test_accumulation_changes_nothing(
    whole_batches: dict[str, Tensor], batch_size: int, accumulation: int, group_by_length: bool
) -> None:
    """This holds although micro-batches differ in their target tokens, and the last step of an epoch is short."""
    expected = whole_batches if group_by_length else train(batch_order(8, 1, group_by_length), DoublePrecision())
    for name, weight in train(batch_order(batch_size, accumulation, group_by_length), DoublePrecision()).items():
        torch.testing.assert_close(weight, expected[name], rtol=0, atol=1e-9, msg=name)
