"""A data folder with a teacher's summaries: line i of the sources keeps the summary of line i."""

import json
import shutil
from pathlib import Path

import pytest

from bart.errors import InputError
from tests.tiny_setup import EXAMPLES, TinySetup
from utils.data.divided import open_splits
from utils.data.formats.tables import AskedColumns
from utils.data.splits import complete_pairs, read_pairs, scan_split
from utils.evaluation.journal import texts_digest
from utils.io.json_files import write_json
from utils.recipes.pseudo_labels import write_pseudo_labels

NO_COLUMNS = AskedColumns(None, None)
AS_THEY_WERE = ("train.source", "val.source", "val.target", "test.source", "test.target")


def labels(count: int) -> list[str]:
    """Summaries of which some are empty, blank, or hold what other programs take as the end of a line."""
    odd = {0: "", 3: " ", 7: "a\u2028b", 8: "", 9: "", count - 1: ""}
    return [odd.get(number, f"summary {number}") for number in range(count)]


def write_results(folder: Path, lines: list[str], sources: list[str], name: str = "train_rouge.json") -> Path:
    """Write what an evaluation of the split leaves; ``name`` is that of the file which says what was evaluated."""
    folder.mkdir()
    (folder / "train_generations.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    write_json(folder / name, {"key": {"texts": texts_digest(sources)}})
    return folder


def test_no_line_moves(setup: TinySetup, tmp_path: Path) -> None:
    """Empty summaries stay where they are, and the pairs to learn are the others."""
    given = labels(EXAMPLES["train"])
    results = write_results(tmp_path / "results", given, read_pairs(setup.data, "train").sources)
    said = write_pseudo_labels(results, str(setup.data), NO_COLUMNS, tmp_path / "data")
    assert said == f"61 summaries of {results} as train.target, 5 of them empty, which a training leaves out"
    for name in AS_THEY_WERE:
        assert (tmp_path / "data" / name).read_bytes() == (setup.data / name).read_bytes(), name
    sources = read_pairs(setup.data, "train").sources
    pairs = list(complete_pairs(scan_split(tmp_path / "data", "train")))
    assert len(pairs) == 61 - 5
    assert all(target == given[number] and source == sources[number] for number, source, target in pairs)


def test_sources_without_targets_are_labelled(setup: TinySetup, tmp_path: Path) -> None:
    """And the splits that are there are copied, no others."""
    data = tmp_path / "unlabelled"
    data.mkdir()
    for name in ("train.source", "val.source", "val.target"):
        shutil.copy(setup.data / name, data)
    sources = read_pairs(setup.data, "train").sources
    results = write_results(tmp_path / "results", labels(EXAMPLES["train"]), sources, "train_key.json")
    write_pseudo_labels(results, str(data), NO_COLUMNS, tmp_path / "data")
    written = {path.name for path in (tmp_path / "data").iterdir()}
    assert written == {"train.source", "train.target", "val.source", "val.target"}


def test_tables_become_line_files(setup: TinySetup, tmp_path: Path) -> None:
    data = tmp_path / "tables"
    data.mkdir()
    for split in EXAMPLES:
        pairs = read_pairs(setup.data, split)
        rows = [{"long": text, "short": target} for text, target in zip(pairs.sources, pairs.targets, strict=True)]
        (data / f"{split}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    results = write_results(tmp_path / "results", labels(EXAMPLES["train"]), read_pairs(setup.data, "train").sources)
    write_pseudo_labels(results, str(data), AskedColumns("long", "short"), tmp_path / "data")
    for name in AS_THEY_WERE:
        assert (tmp_path / "data" / name).read_bytes() == (setup.data / name).read_bytes(), name


def test_data_that_split_divides(setup: TinySetup, tmp_path: Path) -> None:
    """With the flag that the evaluation was given, the labels are of its training split."""
    data = tmp_path / "whole"
    data.mkdir()
    for side in ("source", "target"):
        shutil.copy(setup.data / f"train.{side}", data / f"train.{side}.txt")
    divided = open_splits(str(data), NO_COLUMNS, (0.5, 0.2, 0.3))
    sources = read_pairs(divided.lines_of("train"), "train").sources
    results = write_results(tmp_path / "results", labels(len(sources)), sources)
    with pytest.raises(InputError, match=r"train\.source\.txt has 61; evaluate the whole split"):
        write_pseudo_labels(results, str(data), NO_COLUMNS, tmp_path / "data")
    write_pseudo_labels(results, str(data), NO_COLUMNS, tmp_path / "data", (0.5, 0.2, 0.3))
    for name in AS_THEY_WERE:
        assert (tmp_path / "data" / name).read_bytes() == (divided.lines_of(name) / name).read_bytes(), name


def test_what_is_refused(setup: TinySetup, tmp_path: Path) -> None:
    sources = read_pairs(setup.data, "train").sources
    (tmp_path / "there").mkdir()
    for number, (lines, texts, folder, said) in enumerate(
        (
            (labels(61), sources, "there", "there exists; give a new folder"),
            (labels(60), sources[:60], "new", r"has 60 lines, .*train\.source has 61; evaluate the whole split"),
            (labels(61), [*sources[1:], sources[0]], "new", r"train_rouge\.json: is of an evaluation of other texts"),
        )
    ):
        results = write_results(tmp_path / f"results{number}", lines, texts)
        with pytest.raises(InputError, match=said):
            write_pseudo_labels(results, str(setup.data), NO_COLUMNS, tmp_path / folder)
    other = write_results(tmp_path / "other", labels(61), [*sources[:-1], "another text"], "train_key.json")
    with pytest.raises(InputError, match=r"train_key\.json: is of an evaluation of other texts than .*train\.source"):
        write_pseudo_labels(other, str(setup.data), NO_COLUMNS, tmp_path / "new")
    (other / "train_key.json").unlink()  # as if it had been killed before the end
    with pytest.raises(InputError, match=r"neither train_rouge\.json nor train_key\.json beside it says .* --resume"):
        write_pseudo_labels(other, str(setup.data), NO_COLUMNS, tmp_path / "new")
    with pytest.raises(InputError, match=r"train_generations.txt: No such file .* --type_path train --resume"):
        write_pseudo_labels(tmp_path / "nowhere", str(setup.data), NO_COLUMNS, tmp_path / "new")
    assert not list((tmp_path / "there").iterdir()) and not list(tmp_path.glob("*new*"))
