"""When the host waits for a GPU, for which the CPU stands in: never in training steps, in searches for reports."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.plugins.precision import MixedPrecision, Precision

from bart.generation import active_sentences, step_decoder
from bart.modeling.layers import attention
from bart.modeling.layers.token_embedding import TokenEmbedding
from bart.modeling.modeling_bart import BartForConditionalGeneration
from tests.host_waits import HostWaits
from tests.tiny_training import EXAMPLES, batch_order, fit, start_model, start_module
from utils.data.batch import Batch, BatchDataset, BatchIndices
from utils.evaluation.generate import BatchGenerator
from utils.training import validation_searcher
from utils.training.callbacks.metrics_history import TrainingHistory
from utils.training.callbacks.non_finite import StopOnNonFinite
from utils.training.callbacks.rng_state import RngState
from utils.training.precision_plugin import NativeAmp
from utils.training.validation_searcher import ValidationSearcher

STEPS = 8
REPORTS = {  # of a search: which sentences were done two steps ago; at its end, the length of its longest output
    "active_sentences._copy_to_host",
    "active_sentences.report_flags",
    "beam_search.best",
}


class WaitCounter(Callback):
    """Notes how many waits there were by the end of each micro-batch."""

    def __init__(self, waits: HostWaits) -> None:
        self.waits, self.counts = waits, [0]

    def on_train_batch_end(self, *_: Any) -> None:
        self.counts.append(len(self.waits.readers))


@pytest.fixture
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The ways of a GPU, as far as a CPU has others."""
    monkeypatch.setattr(BartForConditionalGeneration, "_suits_unpadding", lambda *_: False)
    monkeypatch.setattr(TokenEmbedding, "tied_gradients", lambda _: nullcontext())
    monkeypatch.setattr(attention, "_suits_blocks", lambda *_: False)
    monkeypatch.setattr(step_decoder, "_WITH_GRAPHS", {"cpu"})
    monkeypatch.setattr(active_sentences, "_LAG", {"cpu": 2})
    monkeypatch.setattr(validation_searcher, "_DEVICES", {"cpu"})


@pytest.mark.usefixtures("as_on_a_gpu")
@pytest.mark.parametrize("precision", ["fp32", "bf16", pytest.param("fp16", marks=pytest.mark.slow)])
def test_training_steps_wait_for_nothing(precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the records of the history, with the callbacks that look at every step."""
    waits, make_batch = HostWaits(), BatchDataset.__getitem__

    def on_the_host(dataset: BatchDataset, indices: BatchIndices) -> Batch:
        with waits.paused():
            return make_batch(dataset, indices)

    monkeypatch.setattr(BatchDataset, "__getitem__", on_the_host)
    plugin = {"fp32": Precision(), "bf16": MixedPrecision("bf16-mixed", "cpu"), "fp16": NativeAmp("cpu")}[precision]
    history, counter = TrainingHistory(tmp_path / "metrics.json", STEPS, 8), WaitCounter(waits)
    callbacks: list[pl.Callback] = [RngState(), StopOnNonFinite(EXAMPLES, STEPS, False), history, counter]
    with waits:
        fit(start_module(STEPS, gradient_clip_val=0.1), batch_order(4, 2), plugin, STEPS, callbacks=callbacks)
    assert len(counter.counts) == 1 + 2 * STEPS
    after_first, before_last, at_the_end = counter.counts[1], counter.counts[-2], counter.counts[-1]
    assert after_first == before_last < at_the_end, waits.readers  # the record at the end is read


@pytest.mark.usefixtures("as_on_a_gpu")
@pytest.mark.parametrize("is_padded", [True, False])
def test_a_validations_search_waits_for_its_reports(is_padded: bool) -> None:
    searcher = ValidationSearcher(start_model(), torch.float32)
    input_ids = torch.randint(4, 400, (8, 16))
    mask = torch.ones_like(input_ids)
    mask[1, 9:] = 0 if is_padded else 1
    nothing = torch.zeros(0, dtype=torch.long)
    batch = Batch(input_ids, mask, is_padded, nothing, nothing, nothing, 0)
    with HostWaits() as waits:
        searcher.search(batch, {"num_beams": 2, "max_length": 12, "no_repeat_ngram_size": 3, "min_length": 5})
    assert waits.readers and set(waits.readers) <= REPORTS


@pytest.mark.usefixtures("as_on_a_gpu")
def test_an_evaluations_search_waits_for_its_reports_and_its_texts() -> None:
    generator = BatchGenerator(start_model().eval(), EXAMPLES.sources, {"num_beams": 2, "max_length": 12})
    with HostWaits() as waits:
        for _ in generator.search(np.arange(8)):
            pass
    assert set(waits.readers) == REPORTS | {"generate._generate"}
    assert waits.readers.count("generate._generate") == 2  # the mask, which is still on the host, and the texts
