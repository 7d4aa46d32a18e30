"""Searches of a validation as on a GPU, for which the CPU stands in: by a copy of the model, with graphs that stay."""

import weakref
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.plugins.precision import MixedPrecision, Precision

from bart.generation import cuda_graphs, step_decoder
from bart.modeling.layers import aligned_vocabulary
from bart.tokenization.tokenization_bart import BartTokenizer
from tests.generation.test_step_decoder import note_captures
from tests.tiny_training import CONFIG, DATASET, batch_order, start_model, start_module
from utils.data.loaders import TrainingLoader, validation_loader
from utils.training import validation_searcher
from utils.training.module import SummarizationModule
from utils.training.validation_searcher import ValidationSearcher, inference_copy

BATCHES, VALIDATIONS = 5, 2


class Summaries(Callback):
    """Keeps the predictions of each validation, and the searches that are still in memory after it."""

    def __init__(self) -> None:
        self.of_validations: list[dict[int, str]] = []
        self.models: list[weakref.ref[Any]] = []

    def on_validation_batch_end(self, trainer: pl.Trainer, module: SummarizationModule, *_: Any) -> None:
        if module._searcher is not None:
            self.models.append(weakref.ref(module._searcher._model))

    def on_validation_end(self, trainer: pl.Trainer, module: SummarizationModule) -> None:
        self.of_validations.append(module._predictions)
        assert module._searcher is None and all(model() is None for model in self.models)


def train_and_validate(tokenizer: BartTokenizer, precision: Precision) -> Summaries:
    """Two steps that change every weight, each followed by a validation with two beams."""
    module = start_module(2, learning_rate=0.1, warmup_steps=0, eval_beams=2, eval_max_gen_length=20)
    with torch.no_grad():
        for weight in module.model.parameters():
            weight.mul_(10.0)  # so that summaries differ
    module.model.final_logits_bias[0, CONFIG.eos_token_id] = 3.0  # and end
    module.tokenizer, module.references = tokenizer, ["a summary"] * len(DATASET)
    noted = Summaries()
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=1,
        max_steps=VALIDATIONS,
        max_epochs=1,
        val_check_interval=1,
        num_sanity_val_steps=0,
        plugins=[precision],
        callbacks=[noted],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    loader = TrainingLoader(DATASET, batch_order(8, 1), VALIDATIONS, num_workers=0, pin_memory=False, data_checksum=0)
    trainer.fit(module, loader, validation_loader(DATASET, 6, 1, 0, 0, pin_memory=False, multiples=(128, 8)))
    return noted


@pytest.fixture
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Return the list of captured shapes, which grows."""
    monkeypatch.setattr(validation_searcher, "_DEVICES", {"cpu"})
    monkeypatch.setattr(step_decoder, "_WITH_GRAPHS", {"cpu"})
    monkeypatch.setattr(cuda_graphs, "_quarter_of_memory", lambda _: 10**9)
    monkeypatch.setattr(aligned_vocabulary, "_DEVICES", {"cpu"})
    return note_captures(monkeypatch)


def test_the_same_summaries_with_the_newest_weights(
    tokenizer: BartTokenizer, request: pytest.FixtureRequest
) -> None:
    """In float32; the copy is gone after each validation, and the second one has another."""
    expected = train_and_validate(tokenizer, Precision())
    assert not expected.models  # on a CPU nothing changes
    request.getfixturevalue("as_on_a_gpu")
    found = train_and_validate(tokenizer, Precision())
    assert found.of_validations == expected.of_validations
    assert len(found.of_validations) == VALIDATIONS and found.of_validations[0] != found.of_validations[1]
    assert len(found.models) == VALIDATIONS * BATCHES and len({id(model) for model in found.models}) == VALIDATIONS


def test_graphs_are_kept_in_mixed_precision(
    tokenizer: BartTokenizer, as_on_a_gpu: list[tuple[int, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batches of one shape share what the first one captures; under autocast each search captures its own."""
    kept = train_and_validate(tokenizer, MixedPrecision("bf16-mixed", "cpu"))
    of_kept = len(as_on_a_gpu)
    monkeypatch.setattr(validation_searcher, "_DEVICES", set())
    train_and_validate(tokenizer, MixedPrecision("bf16-mixed", "cpu"))
    assert len(kept.models) == VALIDATIONS * BATCHES
    assert VALIDATIONS <= of_kept < (len(as_on_a_gpu) - of_kept) / 2


def test_it_computes_in_the_precisions_type(as_on_a_gpu: list[tuple[int, ...]]) -> None:
    """Even within autocast, as an evaluation with --bf16 does."""
    model, batch = start_model().eval(), next(iter(validation_loader(DATASET, 6, 1, 0, 0, pin_memory=False)))
    settings = {"num_beams": 2, "max_length": 12}
    expected = inference_copy(model, torch.bfloat16).generate(batch.input_ids, batch.attention_mask, **settings)
    searcher = ValidationSearcher(model, torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(searcher.search(batch, settings), expected)
    assert as_on_a_gpu


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_copy_takes_memory_only_in_another_type(dtype: torch.dtype) -> None:
    model = start_model().train()
    model.enable_gradient_checkpointing()
    with torch.inference_mode():
        copy = inference_copy(model, dtype)
    assert not copy.training and copy.dtype == dtype and model.dtype == torch.float32
    assert not copy.model.encoder.gradient_checkpointing
    position = copy.model.decoder.embed_positions.weight
    shares = position.data_ptr() == model.model.decoder.embed_positions.weight.data_ptr()
    assert shares == (dtype == torch.float32)
    assert copy.model.encoder.embed_tokens.weight is copy.model.shared.weight
    assert all(not parameter.is_meta for parameter in [*copy.parameters(), *copy.buffers()])
