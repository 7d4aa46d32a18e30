from pathlib import Path

import numpy as np
import pytest

from bart.errors import InputError
from bart.modeling.modeling_bart import IGNORED_LABEL
from bart.tokenization.tokenization_bart import BartTokenizer
from tests.tiny_setup import TinySetup, write_tiny_setup
from utils.batching import BatchPlan
from utils.data import decode, deranged, encode, encode_pairs, read_lines, read_pairs, validation_loader


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> TinySetup:
    return write_tiny_setup(tmp_path_factory.mktemp("setup"))


@pytest.fixture(scope="module")
def tokenizer(setup: TinySetup) -> BartTokenizer:
    return BartTokenizer.from_pretrained(setup.tokenizer)


def test_lines_end_at_newlines_alone(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_bytes("a\u2028b\x85c\x0bd\x0ce\x1cf\rg\r\n\n h \nlast".encode())
    assert read_lines(path) == ["a\u2028b\x85c\x0bd\x0ce\x1cf\rg", "", " h ", "last"]
    path.write_bytes(b"one\n")
    assert read_lines(path) == ["one"]
    path.write_bytes(b"")
    assert read_lines(path) == []


def test_bad_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"train\.source: No such file"):
        read_pairs(tmp_path, "train")
    (tmp_path / "train.source").write_bytes(b"good\nb\xffd\n")
    with pytest.raises(InputError, match=r"train\.source: line 2 is not UTF-8"):
        read_pairs(tmp_path, "train")
    (tmp_path / "train.source").write_text("one\ntwo\nthree\n")
    (tmp_path / "train.target").write_text("1\n2\n")
    with pytest.raises(InputError, match=r"train.source has 3 lines, .*train.target has 2"):
        read_pairs(tmp_path, "train")
    for side in ("source", "target"):
        (tmp_path / f"val.{side}").write_text("")
    with pytest.raises(InputError, match=r"val\.source: is empty"):
        read_pairs(tmp_path, "val")


def test_pairs_can_be_limited(setup: TinySetup) -> None:
    assert len(read_pairs(setup.data, "val")) == 13
    assert read_pairs(setup.data, "val", 5).targets == read_pairs(setup.data, "val").targets[:5]


def test_encoding_is_the_tokenizers(setup: TinySetup, tokenizer: BartTokenizer) -> None:
    """Also beyond one call's number of lines; cut with </s> kept."""
    lines = read_pairs(setup.data, "train").sources * 20
    store = encode(lines, tokenizer, 12, " ")
    assert len(store) == len(lines) == 1220
    for row in (0, 1, 999, 1000, 1219):
        expected = tokenizer(" " + lines[row], max_length=12, truncation=True)["input_ids"]
        assert store[row].tolist() == expected
        assert expected[0] == tokenizer.bos_token_id and expected[-1] == tokenizer.eos_token_id
    assert store.lengths.max() == 12 and store.tokens.dtype == np.uint16


def test_checksum_sees_a_changed_token(setup: TinySetup, tokenizer: BartTokenizer) -> None:
    dataset = encode_pairs(read_pairs(setup.data, "val"), tokenizer, " ", 64, 16, 64)
    before = dataset.checksum()
    dataset.targets.tokens[5] += 1
    assert dataset.checksum() != before


def test_batch(setup: TinySetup, tokenizer: BartTokenizer) -> None:
    pairs = read_pairs(setup.data, "train")
    dataset = encode_pairs(pairs, tokenizer, " ", 50, 16, max_padded_length=50)
    rows = np.array([7, 3, 11])
    batch = dataset[BatchPlan(rows, step_target_tokens=99)]
    assert batch.rows.tolist() == [7, 3, 11] and batch.step_target_tokens == 99
    for index, row in enumerate(rows):
        source, target = dataset.sources[row].tolist(), dataset.targets[row].tolist()
        assert batch.input_ids[index, : len(source)].tolist() == source
        assert (batch.input_ids[index, len(source) :] == tokenizer.pad_token_id).all()
        assert batch.attention_mask[index].tolist() == [1] * len(source) + [0] * (batch.input_ids.size(1) - len(source))
        assert batch.labels[index, : len(target)].tolist() == target
        assert (batch.labels[index, len(target) :] == IGNORED_LABEL).all()
    assert batch.labels.size(1) % 8 == 0
    longest = dataset[BatchPlan(np.array([int(dataset.sources.lengths.argmax())]), 0)]
    assert longest.input_ids.size(1) == 50  # not 56: there are no more positions


def test_a_stand_in_does_not_count(setup: TinySetup, tokenizer: BartTokenizer) -> None:
    dataset = encode_pairs(read_pairs(setup.data, "val"), tokenizer, " ", 64, 16, 64)
    batch = dataset[BatchPlan(np.array([2]), 9, is_stand_in=True)]
    assert (batch.labels == IGNORED_LABEL).all() and batch.attention_mask.any()


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_validation_shares_the_examples(setup: TinySetup, tokenizer: BartTokenizer, processes: int) -> None:
    dataset = encode_pairs(read_pairs(setup.data, "val"), tokenizer, " ", 64, 16, 64)
    rows = [
        row
        for rank in range(processes)
        for batch in validation_loader(dataset, 4, processes, rank, num_workers=0, pin_memory=False)
        for row in batch.rows.tolist()
    ]
    assert sorted(rows) == list(range(13))
    with pytest.raises(InputError, match="--n_val: 13"):
        validation_loader(dataset, 4, 14, 0, num_workers=0, pin_memory=False)


def test_a_decoded_text_is_one_line(tokenizer: BartTokenizer) -> None:
    ids = tokenizer([" first\nsecond ", " third"], padding=True, return_tensors="pt")["input_ids"]
    assert decode(ids, tokenizer) == ["first second", "third"]


@pytest.mark.parametrize("count", [2, 3, 50])
def test_deranged_moves_every_text(count: int) -> None:
    texts = [str(number) for number in range(count)]
    moved = deranged(texts, seed=1)
    assert sorted(moved) == sorted(texts)
    assert all(one != other for one, other in zip(moved, texts, strict=True))
    assert moved == deranged(texts, seed=1)
    with pytest.raises(InputError):
        deranged(["alone"], seed=1)
