import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tokenizers import AddedToken

from bart.errors import InputError
from bart.tokenization.tokenization_bart import BartTokenizer
from bart.tokenization.training import train_tokenizer
from tests.commands import start_process
from tests.tiny_setup import TinySetup, write_tiny_setup
from utils.data.splits import read_pairs, scan_split
from utils.data.tokens.duplicates import text_hashes
from utils.data.tokens.encode import encode
from utils.data.tokens.pair_cache import PreparedPairs, TokenLimits, prepare_pairs
from utils.data.tokens.truncation import TruncationMeter
from utils.io.artifact_cache import FOLDER

LIMITS = TokenLimits(" ", 40, 12)


@pytest.fixture
def setup(tmp_path: Path) -> TinySetup:
    return write_tiny_setup(tmp_path)


def prepare_split(setup: TinySetup, split: str = "train", limits: TokenLimits = LIMITS) -> PreparedPairs:
    return prepare_pairs(scan_split(setup.data, split), BartTokenizer.from_pretrained(setup.tokenizer), limits)


def prepared_folders(place: Path) -> list[Path]:
    return sorted(place.iterdir())


def write_times(place: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in place.rglob("*")}


def test_the_tokens_are_those_of_the_texts(setup: TinySetup) -> None:
    prepared = prepare_split(setup)
    pairs, tokenizer = read_pairs(setup.data, "train"), BartTokenizer.from_pretrained(setup.tokenizer)
    for texts, length, store in ((pairs.sources, 40, prepared.sources), (pairs.targets, 12, prepared.targets)):
        expected = encode(texts, tokenizer, length, " ")
        assert np.array_equal(store.tokens, expected.tokens) and np.array_equal(store.offsets, expected.offsets)
        assert store.checksum() == expected.checksum() and store.tokens.dtype == expected.tokens.dtype
    assert prepared.lines.tolist() == list(range(61)) and prepared.left_out == 0
    assert not prepared.sources.tokens.flags.writeable  # it maps the file


def test_the_report_on_the_data_needs_no_texts(setup: TinySetup) -> None:
    """Hashes and truncation are kept beside the tokens, and read back with them."""
    pairs, tokenizer = read_pairs(setup.data, "train"), BartTokenizer.from_pretrained(setup.tokenizer)
    for prepared in (prepare_split(setup), prepare_split(setup)):
        for texts, length, store, facts in (
            (pairs.sources, 40, prepared.sources, prepared.source_facts),
            (pairs.targets, 12, prepared.targets, prepared.target_facts),
        ):
            in_bytes = [text.encode() for text in texts]
            meter = TruncationMeter(tokenizer, length, " ")
            meter.add(in_bytes, [store[row] for row in range(len(store))])
            assert facts.truncation == meter.counts and 0 < facts.truncation.cut_texts < 61
            assert facts.hashes.tolist() == text_hashes(in_bytes).tolist()


def test_a_second_time_nothing_is_computed(setup: TinySetup) -> None:
    first = prepare_split(setup)
    before = write_times(setup.data / FOLDER)
    second = prepare_split(setup)
    assert np.array_equal(first.sources.tokens, second.sources.tokens) and first.left_out == second.left_out
    assert write_times(setup.data / FOLDER) == before


def test_pairs_without_a_text_are_left_out(setup: TinySetup) -> None:
    for side, row in (("source", 3), ("target", 10), ("source", 60)):
        path = setup.data / f"train.{side}"
        lines = path.read_text().split("\n")
        lines[row] = " "
        path.write_text("\n".join(lines))
    prepared = prepare_split(setup)
    kept = [row for row in range(61) if row not in (3, 10, 60)]
    assert prepared.lines.tolist() == kept and prepared.left_out == 3
    tokenizer = BartTokenizer.from_pretrained(setup.tokenizer)
    for number, row in enumerate(kept):
        text = " " + read_pairs(setup.data, "train").targets[row]
        assert prepared.targets[number].tolist() == tokenizer(text, max_length=12, truncation=True)["input_ids"]
    few = prepare_split(setup, limits=TokenLimits(" ", 40, 12, examples=4))
    assert few.lines.tolist() == [0, 1, 2, 4] and few.left_out == 1
    (setup.data / "train.target").write_text("\n" * 61)
    with pytest.raises(InputError, match="train: every pair has an empty source or target"):
        prepare_split(setup)


def test_what_the_tokens_depend_on_is_noticed(setup: TinySetup) -> None:
    prepare_split(setup)
    prepare_split(setup, limits=TokenLimits("", 40, 12))
    prepare_split(setup, limits=TokenLimits(" ", 39, 12))
    prepare_split(setup, limits=TokenLimits(" ", 40, 12, examples=5))
    prepare_split(setup, "val")
    assert len(prepared_folders(setup.data / FOLDER)) == 5
    train_tokenizer(["other words than those before"], 300, setup.tokenizer)
    other = prepare_split(setup)
    assert len(prepared_folders(setup.data / FOLDER)) == 6
    expected = encode(read_pairs(setup.data, "train").sources, BartTokenizer.from_pretrained(setup.tokenizer), 40, " ")
    assert np.array_equal(other.sources.tokens, expected.tokens)


def test_tokens_of_another_reading_of_masks_are_not_used(setup: TinySetup) -> None:
    """The key tells: earlier tokenizers of the same vocabulary did not let <mask> take the space before it."""
    path = setup.data / "train.source"
    path.write_text(path.read_text().replace(" ", " <mask> ", 1))
    today = BartTokenizer.from_pretrained(setup.tokenizer)
    earlier = BartTokenizer.from_pretrained(setup.tokenizer)
    earlier.backend_tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=False, special=True)])
    files, limits = scan_split(setup.data, "train"), TokenLimits(" ", 1000, 12)
    first, second = prepare_pairs(files, earlier, limits).sources[0], prepare_pairs(files, today, limits).sources[0]
    assert len(prepared_folders(setup.data / FOLDER)) == 2
    assert second.tolist() == today([f" {read_pairs(setup.data, 'train').sources[0]}"]).input_ids[0]
    assert len(first) == len(second) + 1


def test_a_changed_text_is_noticed_and_the_old_tokens_go(setup: TinySetup) -> None:
    """The digest tells: size and time of the file are the same as before."""
    before = prepare_split(setup)
    prepare_split(setup, "val")
    path = setup.data / "train.source"
    status = path.stat()
    path.write_bytes(path.read_bytes().replace(b"e", b"a", 1))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    after = prepare_split(setup)
    assert after.sources.checksum() != before.sources.checksum()
    assert [folder.name.split("-")[0] for folder in prepared_folders(setup.data / FOLDER)] == ["train", "val"]
    assert len(before.sources[0]) > 0  # a process that still reads the old tokens can go on


@pytest.mark.parametrize("damage", ["cut", "header", "missing"])
def test_damaged_files_are_replaced(setup: TinySetup, damage: str) -> None:
    expected = prepare_split(setup).sources.tokens.copy()
    (folder,) = prepared_folders(setup.data / FOLDER)
    if damage == "cut":
        os.truncate(folder / "source.tokens", (folder / "source.tokens").stat().st_size - 2)
    elif damage == "header":
        header = folder / "header.json"
        header.write_text(header.read_text().replace('"left_out": 0', '"left_out": 9'))
    else:
        (folder / "lines.npy").unlink()
    prepared = prepare_split(setup)
    assert np.array_equal(prepared.sources.tokens, expected) and prepared.left_out == 0
    assert prepared_folders(setup.data / FOLDER) == [folder]


def test_a_folder_that_takes_no_files(setup: TinySetup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache is used instead; if it cannot be written either, an error says so."""
    (setup.data / FOLDER).write_text("")  # so not even root can make the folder
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    first = prepare_split(setup)
    before = write_times(tmp_path / "cache")
    assert np.array_equal(prepare_split(setup).sources.tokens, first.sources.tokens)
    assert write_times(tmp_path / "cache") == before and before
    monkeypatch.setenv("XDG_CACHE_HOME", str(setup.data / FOLDER))
    with pytest.raises(InputError, match="set XDG_CACHE_HOME"):
        prepare_split(setup)


def test_a_file_that_grows_meanwhile(setup: TinySetup) -> None:
    files = scan_split(setup.data, "train")
    with open(setup.data / "train.source", "a") as file:
        file.write("one more\n")
    with pytest.raises(InputError, match=r"train\.source: was changed while it was read"):
        prepare_pairs(files, BartTokenizer.from_pretrained(setup.tokenizer), LIMITS)
    assert prepared_folders(setup.data / FOLDER) == []


def make_long(setup: TinySetup, times: int) -> None:
    for side in ("source", "target"):
        path = setup.data / f"train.{side}"
        path.write_bytes(path.read_bytes() * times)


def _prepare_in_process(setup: TinySetup, log: Path) -> None:
    with open(log, "w") as file:
        os.dup2(file.fileno(), 1)
        prepare_split(setup)


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def wait_for_part(place: Path) -> Path:
    """Wait for the folder that a process begins to write, and return it."""
    wait_until(lambda: list(place.glob(".part-*/source.tokens")))
    return next(place.glob(".part-*"))


def test_a_killed_preparation_leaves_nothing_that_looks_whole(setup: TinySetup, tmp_path: Path) -> None:
    make_long(setup, 300)
    process = start_process(_prepare_in_process, setup, tmp_path / "log")
    part = wait_for_part(setup.data / FOLDER)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert prepared_folders(setup.data / FOLDER) == [part]
    assert len(prepare_split(setup).sources) == 61 * 300
    assert not part.exists() and len(prepared_folders(setup.data / FOLDER)) == 1


def test_two_processes_at_once(setup: TinySetup, tmp_path: Path) -> None:
    """The second process waits, says so, and uses the tokens of the first."""
    make_long(setup, 300)
    first = start_process(_prepare_in_process, setup, tmp_path / "first")
    wait_for_part(setup.data / FOLDER)
    os.kill(first.pid, signal.SIGSTOP)
    second = start_process(_prepare_in_process, setup, tmp_path / "second")
    said = f"{setup.data / FOLDER}: waiting for another process that prepares tokens\n"
    try:
        wait_until(lambda: (tmp_path / "second").exists() and (tmp_path / "second").read_text() == said)
    finally:
        os.kill(first.pid, signal.SIGCONT)
    for process in (first, second):
        process.join(120)
        assert process.exitcode == 0
    assert (tmp_path / "first").read_text() == "" and (tmp_path / "second").read_text() == said
    assert len(prepared_folders(setup.data / FOLDER)) == 1
    assert len(prepare_split(setup).sources) == 61 * 300
