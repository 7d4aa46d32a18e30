"""Disks that are full, and folders that cannot be written to: one line that names them, and nothing half-written."""

import shutil
from pathlib import Path

import pytest

from bart.errors import InputError
from bart.modeling.modeling_bart import BartForConditionalGeneration
from bart.tokenization.tokenization_bart import BartTokenizer
from tests.commands import Command, refusal, run
from tests.mounts import fill, read_only, small_disk
from tests.tiny_setup import TinySetup
from utils.checkpoint.checkpoint_io import checkpoints, is_intact
from utils.checkpoint.export import save_model
from utils.data.formats.line_corpus import Counts, write_corpus
from utils.data.formats.pair import Pair
from utils.io.json_files import write_json

FULL = "No space left on device"


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.name != "filler")


def test_a_disk_that_is_too_small_is_seen_before_the_training(setup: TinySetup, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "1m") as disk:
        line = refusal("finetune.py", [*setup.training_flags, "--output_dir", str(disk / "run")], tmp_path / "log")
        assert line.startswith(f"error: --output_dir {disk / 'run'}: the run needs ")
        assert "and 1.0 MB are free" in line and "--no-check_disk_space" in line
        assert left_in(disk) == []


def test_it_fills_during_a_save(setup: TinySetup, tmp_path: Path) -> None:
    """The checkpoint before is whole and is gone on with, on a disk with room."""
    flags = [*setup.training_flags, "--save_checkpoint_steps", "2", "--no-check_disk_space"]
    with small_disk(tmp_path / "disk", "1500k") as disk:
        command = Command("finetune.py", [*flags, "--output_dir", str(disk)], tmp_path / "log")
        assert command.wait() == 2
        line = command.output.splitlines()[-1]
        newest = checkpoints(disk)[-1]
        assert line.startswith(f"error: {disk}/") and f": cannot be written: {FULL}" in line
        assert line.count("error") == command.output.count("error") and "Traceback" not in command.output
        assert is_intact(newest) and not list(disk.glob(".*.part"))
        shutil.copytree(disk, tmp_path / "room")
    run("finetune.py", [*flags, "--output_dir", str(tmp_path / "room"), "--resume"], tmp_path / "log")
    assert checkpoints(tmp_path / "room")[-1].name == "_epoch2_step20.ckpt"


def test_no_room_for_tokens(setup: TinySetup, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "1m") as disk:
        shutil.copytree(setup.data, disk / "data", ignore=shutil.ignore_patterns(".prepared"))
        fill(disk, 0)
        flags = ["--data_dir", str(disk / "data"), "--output_dir", str(tmp_path / "results")]
        line = refusal("finetune.py", [*setup.training_flags, *flags], tmp_path / "log")
        assert str(disk / "data" / ".prepared") in line and FULL in line
        assert not (tmp_path / "results").exists()
        assert [name for name in left_in(disk / "data") if "." not in name] == []


def test_no_room_for_generations(setup: TinySetup, whole_run: Path, tmp_path: Path) -> None:
    """Seen before the search if not even the journal can begin; else the journal keeps what the search has found."""
    with small_disk(tmp_path / "disk", "1m") as disk:
        arguments = list(map(str, [whole_run / "best_tfmr", setup.config, setup.data, disk]))
        for room, name, left in ((0, "journal.0.jsonl", []), (8192, "generations.txt", ["test_journal.0.jsonl"])):
            fill(disk, room)
            command = Command("run_eval.py", arguments, tmp_path / "log")
            assert command.wait() == 2
            line = command.output.splitlines()[-1]
            assert line.startswith(f"error: {disk}/test_{name}: cannot be written: {FULL}")
            assert left_in(disk) == left
            (disk / "filler").unlink()
        assert "test: 7 of 7 summaries are in the journal" in run(
            "run_eval.py", [*arguments, "--resume"], tmp_path / "log"
        )
        assert (disk / "test_generations.txt").read_text().count("\n") == 7


@pytest.mark.parametrize("room", [0, 40_000, 200_000])
def test_no_room_for_the_model(setup: TinySetup, whole_run: Path, tmp_path: Path, room: int) -> None:
    """Wherever in the model or the tokenizer: the folder that was there stays as it was."""
    model = BartForConditionalGeneration.from_pretrained(whole_run / "best_tfmr")
    tokenizer = BartTokenizer.from_pretrained(whole_run / "best_tfmr")
    with small_disk(tmp_path / "disk", "2m") as disk:
        save_model(model, tokenizer, disk / "best")
        before = {path: path.read_bytes() for path in (disk / "best").iterdir()}
        fill(disk, room)
        with pytest.raises(InputError, match=rf"{disk}/best: cannot be written: .*(No space|os error 28)"):
            save_model(model, tokenizer, disk / "best")
        assert {path: path.read_bytes() for path in (disk / "best").iterdir()} == before
        assert sorted(path.name for path in disk.iterdir()) == ["best", "filler"]


def test_no_room_for_a_corpus_or_a_report(tmp_path: Path) -> None:
    pairs = [Pair("a text " * 1000, "its summary")] * 200
    splits = {split: iter(pairs) for split in Counts._fields}
    with small_disk(tmp_path / "disk", "1m") as disk:
        write_json(disk / "report.json", [1])
        with pytest.raises(InputError, match=rf"{disk}/corpus: cannot be written: {FULL}"):
            write_corpus(disk / "corpus", splits, Counts(200, 200, 200), {}, {})
        with pytest.raises(InputError, match=rf"report\.json: cannot be written: {FULL}"):
            write_json(disk / "report.json", ["x" * 2_000_000])
        assert left_in(disk) == ["report.json"] and (disk / "report.json").read_text() == "[\n  1\n]\n"


def test_folders_that_cannot_be_written_to(setup: TinySetup, whole_run: Path, tmp_path: Path) -> None:
    """The results go nowhere, and say so; the tokens of data that lie there go to the user's cache."""
    (tmp_path / "data").mkdir()
    shutil.copytree(setup.data, tmp_path / "data" / "pairs", ignore=shutil.ignore_patterns(".prepared"))
    with read_only(tmp_path / "data", tmp_path / "sealed") as sealed:
        for folder in (sealed, sealed / "new"):
            line = refusal("finetune.py", [*setup.training_flags, "--output_dir", str(folder)], tmp_path / "log")
            assert line.startswith(f"error: --output_dir {folder}: cannot be")
            arguments = map(str, [whole_run / "best_tfmr", setup.config, setup.data, folder])
            line = refusal("run_eval.py", list(arguments), tmp_path / "log")
            assert line.startswith(f"error: SAVE_PATH {folder}: cannot be")
        short = ["--max_steps", "2", "--warmup_steps", "1", "--output_dir", str(tmp_path / "results")]
        flags = [*setup.training_flags, *short, "--data_dir", str(sealed / "pairs")]
        cache = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
        command = Command("finetune.py", flags, tmp_path / "log", cache)
        assert command.wait() == 0, command.output
    assert list((tmp_path / "cache").rglob("train-*"))
    assert left_in(tmp_path / "data") == sorted(["pairs", *left_in(tmp_path / "data" / "pairs")])
    assert not (tmp_path / "data" / "pairs" / ".prepared").exists()
