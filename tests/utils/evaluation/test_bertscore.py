"""BERTScore with a tiny BERT, beside its definition; and what is refused."""

import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoTokenizer

from bart.errors import InputError
from tests.tiny_bert import LAYERS, POSITIONS, WORDS, write_tiny_bert
from utils.cli.shared_args import BertScoreSettings
from utils.evaluation.bertscore import BertScorer, bertscore_text, check_bertscore

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Read only."""
    return write_tiny_bert(tmp_path_factory.mktemp("tiny") / "bert")


def scorer(bert: Path, layer: int | None = None) -> BertScorer:
    return BertScorer(BertScoreSettings(str(bert), layer), CPU)


def by_definition(bert: Path, predictions: list[str], references: list[str], layer: int) -> np.ndarray:
    tokenizer, model = AutoTokenizer.from_pretrained(bert), AutoModel.from_pretrained(bert).eval()

    def vectors(text: str) -> torch.Tensor:
        with torch.no_grad():
            found = model(**tokenizer(text, return_tensors="pt"), output_hidden_states=True).hidden_states[layer][0]
        return F.normalize(found[1:-1].double(), dim=-1)  # without [CLS] and [SEP]

    pairs = zip(map(vectors, predictions), map(vectors, references), strict=True)
    return np.array([scores_of(prediction @ reference.T) for prediction, reference in pairs])


def scores_of(cosines: torch.Tensor) -> list[float]:
    cosines = cosines.clamp(min=0)  # as if a vector of zeros stood in each text
    precision, recall = cosines.max(1).values.mean().item(), cosines.max(0).values.mean().item()
    return [precision, recall, 2 * precision * recall / (precision + recall)]


@pytest.mark.parametrize("layer", [None, 1])
def test_it_is_what_the_paper_defines(bert: Path, layer: int | None) -> None:
    """Of an odd number of texts whose lengths are in no order, each is compared with its own reference."""
    draw = np.random.default_rng(0)
    texts = [[" ".join(draw.choice(WORDS, draw.integers(1, 12))) for _ in range(7)] for _ in range(2)]
    found = scorer(bert, layer).scores(*texts)
    expected = by_definition(bert, *texts, layer or LAYERS)
    assert found.dtype == np.float64 and found == pytest.approx(expected, abs=1e-6)
    assert np.ptp(found[:, 2]) > 0.1


@pytest.mark.parametrize("roberta", [False, True])
def test_equal_empty_and_long_texts(tmp_path: Path, roberta: bool) -> None:
    """A RoBERTa's first position is not used, as token 0 is its padding."""
    bert = write_tiny_bert(tmp_path / "bert", roberta)
    long, cut = " ".join(WORDS * 3), " ".join((WORDS * 3)[: POSITIONS - 2 - roberta])
    one = scorer(bert)
    found = one.scores(["a cat", "", "a cat", "  ", long, "dog"], ["a cat", "a cat", "", "", cut, "dog"])
    assert found[[0, 4, 5]] == pytest.approx(1, abs=1e-6) and not found[1:4].any()
    entry = one.report_entry(found)
    assert entry["f1"] == pytest.approx(50, abs=1e-4) and entry["texts_cut"] == 1
    assert (entry["model"], entry["layer"], entry["revision"]) == (str(bert), LAYERS, None)
    assert entry["scorer"].startswith("torchmetrics ") and entry["intervals_95"].keys() == {"precision", "recall", "f1"}
    assert bertscore_text({"bertscore": entry}) == (
        f"BERTScore ({bert}, layer 2): precision 50.00  recall 50.00  f1 50.00; 1 texts are longer than it can read, "
        "and were cut"
    )


def test_each_text_is_tokenized_once(bert: Path) -> None:
    """But for those that are cut."""
    one, long, tokenized = scorer(bert), " ".join(WORDS * 3), []
    tokenizer = one._tokenizer

    class Noted:
        pad = staticmethod(tokenizer.pad)

        def __call__(self, texts: str | list[str], **how: Any) -> Any:
            tokenized.extend([texts] if isinstance(texts, str) else texts)
            return tokenizer(texts, **how)

    one._tokenizer = Noted()
    assert one.scores(["a cat", long, "a dog"], ["the mat", "one", "a dog"])[:, 2].all()
    assert tokenized == ["", "a cat", long, "a dog", long, "the mat", "one", "a dog"]


def test_what_cannot_be_used(bert: Path, folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """``folder`` has an encoder with a decoder."""
    (tmp_path / "nothing").mkdir()
    shutil.copytree(bert, tmp_path / "damaged")
    (tmp_path / "damaged" / "model.safetensors").write_bytes(b"{")
    for name, message in (("nowhere", "no such folder or file here"), ("nothing", "has no config.json")):
        with pytest.raises(InputError, match=f"^--bertscore {tmp_path / name}: {message}"):
            check_bertscore(BertScoreSettings(str(tmp_path / name)))
    shutil.copytree(bert, tmp_path / "incomplete")
    weights = load_file(bert / "model.safetensors")
    del weights["encoder.layer.1.output.dense.weight"]
    save_file(weights, tmp_path / "incomplete" / "model.safetensors", {"format": "pt"})
    for model in (folder, tmp_path / "damaged", tmp_path / "incomplete"):
        check_bertscore(BertScoreSettings(str(model)))
        with pytest.raises(InputError, match=f"^--bertscore {model}: cannot be used .*; give a BERT") as refusal:
            scorer(model)
        assert "\n" not in str(refusal.value)
    with pytest.raises(InputError, match="--bertscore_layer 3: the model has 2 layers; give 2 or less"):
        scorer(bert, 3)
    with caplog.at_level(logging.INFO):
        scorer(bert)
    assert caplog.records == []
