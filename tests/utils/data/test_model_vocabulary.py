"""A model without an embedding of <mask> reads <unk> in its place, everywhere."""

from pathlib import Path

import numpy as np
import pytest

from bart.tokenization.tokenization_bart import BartTokenizer
from tests.tiny_setup import TinySetup, tiny_config
from utils.data.batch import BatchDataset, BatchIndices
from utils.data.chunking import read_sources
from utils.data.examples import Origin, PairExamples
from utils.data.model_vocabulary import ModelVocabulary, smaller_vocabulary
from utils.data.splits import scan_split
from utils.data.tokens.pair_cache import TokenLimits, prepare_pairs

MASK = 399  # the last of the tiny tokenizer's 400 tokens


@pytest.fixture
def vocabulary(tokenizer: BartTokenizer) -> ModelVocabulary:
    vocabulary = smaller_vocabulary(tokenizer, tiny_config().copy(vocab_size=MASK))
    assert vocabulary == ModelVocabulary(MASK, 3)
    return vocabulary


def test_a_model_with_every_token_needs_no_other_vocabulary(tokenizer: BartTokenizer) -> None:
    for size in (400, 401, 50265):
        assert smaller_vocabulary(tokenizer, tiny_config().copy(vocab_size=size)) is None


@pytest.mark.parametrize("kind", [np.uint16, np.int32])
def test_unknown_ids_become_unk_and_are_counted(kind: type[np.integer], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("utils.data.model_vocabulary._COUNTED_AT_ONCE", 3)
    ids = np.array([0, 398, 399, 7, 400, 2, 399], dtype=kind)
    vocabulary = ModelVocabulary(399, 3)
    known = vocabulary.known(ids)
    assert known.tolist() == [0, 398, 3, 7, 3, 2, 3] and known.dtype == kind
    assert vocabulary.count_unknown(ids) == 3 and vocabulary.count_unknown(known) == 0


def test_the_tokens_in_files_serve_every_model(
    setup: TinySetup, tokenizer: BartTokenizer, vocabulary: ModelVocabulary, tmp_path: Path
) -> None:
    """Tokens are prepared once, and a model with an embedding of <mask> reads <mask>."""
    for name, text in (("train.source", "a <mask> b <mask>\nparser\n"), ("train.target", "c\n<mask>\n")):
        (tmp_path / name).write_text(text)
    limits = TokenLimits(" ", 24, 12)
    prepared = [prepare_pairs(scan_split(tmp_path, "train"), tokenizer, limits) for _ in range(2)]
    (folder,) = (tmp_path / ".prepared").iterdir()
    assert folder.name.startswith("train-")
    batches = []
    for pairs, model_vocabulary in zip(prepared, (vocabulary, None), strict=True):
        sources, targets = (store.read_by(model_vocabulary) for store in (pairs.sources, pairs.targets))
        assert (sources.count_unknown(), targets.count_unknown()) == ((2, 1) if model_vocabulary else (0, 0))
        examples = PairExamples(sources, targets, Origin(tmp_path / "train.source", pairs.lines))
        batches.append(BatchDataset(examples, 1, 64)[BatchIndices(np.arange(2), step_target_tokens=9)])
    smaller, full = batches
    for found, expected in ((smaller.input_ids, full.input_ids), (smaller.labels, full.labels)):
        assert (expected == MASK).any() and found.max() < MASK
        assert found.tolist() == expected.masked_fill(expected == MASK, 3).tolist()


@pytest.mark.parametrize("in_pieces", [False, True])
def test_sources_of_an_evaluation(tokenizer: BartTokenizer, vocabulary: ModelVocabulary, in_pieces: bool) -> None:
    sources = read_sources(["<mask> of the parser " * 20, "<mask>"], tokenizer, 24, " ", in_pieces)
    tokens = sources.tokens.read_by(vocabulary)
    assert tokens.count_unknown() == (tokens.tokens == MASK).sum() > (20 if in_pieces else 2)
    assert all(tokens[row].max() < MASK and 3 in tokens[row] for row in range(len(tokens)))
