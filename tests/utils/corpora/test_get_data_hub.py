"""Runs scripts/get_data.sh with the real client against a hub on the loopback interface."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from tests.loopback_hub import LoopbackHub
from tests.utils.corpora.get_data_command import get_data, left_behind, lines_of, refusal

Get = Callable[..., subprocess.CompletedProcess[str]]
COUNTS = ("--expected_counts", "3,1,1")


def write_rows(path: Path, columns: dict[str, list[str | None]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.table(columns), path)


@pytest.fixture
def cnn_dm(tmp_path: Path) -> Path:
    """Write the data set's folder on the hub, with a train split in two files."""
    folder = tmp_path / "hub" / "datasets" / "abisee" / "cnn_dailymail"
    for name, rows in {
        "train-00000-of-00002": [("One.\nTwo", "A .\nB."), ("Caf\u00e9\u2028here . ", "C")],
        "train-00001-of-00002": [("Three\r\nfour", "D? .\n E .")],
        "validation-00000-of-00001": [("Five " * 5000, "F")],
        "test-00000-of-00001": [("Six", "G .")],
    }.items():
        articles, highlights = zip(*rows, strict=True)
        columns = {"article": list(articles), "highlights": list(highlights), "id": ["x"] * len(rows)}
        write_rows(folder / "3.0.0" / f"{name}.parquet", columns)
    write_rows(folder / "1.0.0" / "train-00000-of-00001.parquet", {"article": ["no"]})
    return folder


@pytest.fixture
def hub(tmp_path: Path):
    with LoopbackHub(tmp_path / "hub") as hub:
        yield hub


@pytest.fixture
def get(hub: LoopbackHub, tmp_path: Path) -> Get:
    def run(corpus: str, *flags: str) -> subprocess.CompletedProcess[str]:
        return get_data(tmp_path / "data", corpus, *flags, cwd=tmp_path, **hub.environment(tmp_path / "cache"))

    return run


def test_cnn_dm_comes_whole_and_stays(cnn_dm: Path, hub: LoopbackHub, get: Get, tmp_path: Path) -> None:
    process = get("cnn_dm", *COUNTS)
    assert process.returncode == 0, process.stderr
    corpus = tmp_path / "data" / "cnn_dm"
    assert lines_of(corpus) == {
        "train.source": ["One. Two", "Caf\u00e9\u2028here . ", "Three four"],
        "train.target": ["A. B.", "C", "D?.  E."],
        "val.source": ["Five " * 5000],
        "val.target": ["F"],
        "test.source": ["Six"],
        "test.target": ["G."],
    }
    manifest = json.loads((corpus / "corpus.json").read_text())
    assert manifest["pairs"] == {"train": 3, "val": 1, "test": 1}
    assert len(manifest["made_from"]["commit"]) == 40 and len(manifest["made_from"]["sha256"]) == 4
    assert manifest["files"]["test.target"]["bytes"] == 3
    assert not any(path.name.startswith(".") for path in (tmp_path / "data").iterdir() if path.is_dir())

    asked = len(hub.requests)
    again = get("cnn_dm", *COUNTS)
    assert again.returncode == 0 and "is up to date" in again.stdout
    assert len(hub.requests) == asked
    assert "delete it" in refusal(get("cnn_dm", *COUNTS, "--cnn_dm_revision", "main"))

    (corpus / "val.source").write_text("cut")
    assert get("cnn_dm", *COUNTS).returncode == 0
    assert lines_of(corpus)["val.source"] == ["Five " * 5000]


def test_xsum_comes_from_the_hubs_own_conversion(hub: LoopbackHub, get: Get, tmp_path: Path) -> None:
    folder = tmp_path / "hub" / "datasets" / "EdinburghNLP" / "xsum" / "default"
    for split, documents in {"train": ["a\nb", "c", "d"], "validation": ["e"], "test": ["f"]}.items():
        columns = {"document": documents, "summary": [text.upper() + " ." for text in documents], "id": documents}
        write_rows(folder / split / "0000.parquet", columns)
    process = get("xsum", *COUNTS)
    assert process.returncode == 0, process.stderr
    lines = lines_of(tmp_path / "data" / "xsum")
    assert (lines["train.source"], lines["train.target"]) == (["a b", "c", "d"], ["A B .", "C .", "D ."])
    assert ("GET", "/api/datasets/EdinburghNLP/xsum/revision/refs/convert/parquet") in hub.requests


def test_a_broken_download_goes_on(cnn_dm: Path, hub: LoopbackHub, get: Get, tmp_path: Path) -> None:
    """The client writes to disk in steps of 10 MiB, and goes on after the last whole one."""
    step = 10 * 2**20
    columns = {"article": ["x" * (step + 5000)], "highlights": ["F"]}
    path = cnn_dm / "3.0.0" / "validation-00000-of-00001.parquet"
    pyarrow.parquet.write_table(pyarrow.table(columns), path, compression="none", use_dictionary=False)
    hub.break_off[path.name] = [step + 1000]
    process = get("cnn_dm", *COUNTS)
    assert process.returncode == 0, process.stderr
    assert hub.ranges == [f"bytes={step}-"]
    assert lines_of(tmp_path / "data" / "cnn_dm")["val.source"] == columns["article"]


def test_a_wrong_hash_is_refused_and_not_kept(cnn_dm: Path, hub: LoopbackHub, get: Get, tmp_path: Path) -> None:
    hub.corrupt = {"test-00000-of-00001.parquet"}
    line = refusal(get("cnn_dm", *COUNTS))
    assert "abisee/cnn_dailymail: 3.0.0/test-00000-of-00001.parquet came with a wrong hash" in line
    assert "BART_DATA_SOURCE=original" in line
    assert left_behind(tmp_path / "data") == []
    hub.corrupt = set()
    assert get("cnn_dm", *COUNTS).returncode == 0


def test_a_missing_split_is_named(cnn_dm: Path, get: Get, tmp_path: Path) -> None:
    (cnn_dm / "3.0.0" / "validation-00000-of-00001.parquet").unlink()
    assert "has no table of the split val; give another: --cnn_dm_revision main; or" in refusal(
        get("cnn_dm", *COUNTS)
    )
    assert left_behind(tmp_path / "data") == []


def test_any_other_count_is_refused(cnn_dm: Path, get: Get, tmp_path: Path) -> None:
    line = refusal(get("cnn_dm"))
    assert "gave 3 / 1 / 1 pairs for train / val / test, but 287,113 / 13,368 / 11,490 are expected" in line
    assert left_behind(tmp_path / "data") == []


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"article": ["Six"], "abstract": ["G"]}, "no column highlights; it has article, abstract"),
        ({"article": ["Six", None], "highlights": ["G", "H"]}, "row 2 has no text in article or highlights"),
    ],
)
def test_other_columns_are_refused(
    cnn_dm: Path, get: Get, tmp_path: Path, columns: dict[str, list[str | None]], message: str
) -> None:
    write_rows(cnn_dm / "3.0.0" / "test-00000-of-00001.parquet", columns)
    line = refusal(get("cnn_dm", *COUNTS))
    assert "test-00000-of-00001.parquet" in line and message in line
    assert left_behind(tmp_path / "data") == []


def test_what_is_no_parquet_is_refused(cnn_dm: Path, get: Get) -> None:
    (cnn_dm / "3.0.0" / "test-00000-of-00001.parquet").write_text("<html>Quota exceeded</html>")
    line = refusal(get("cnn_dm", *COUNTS))
    assert "test-00000-of-00001.parquet: cannot be read as Parquet" in line


def test_no_revision_no_data_set_and_no_hub(hub: LoopbackHub, get: Get, cnn_dm: Path) -> None:
    hub.no_revisions = {"gone"}
    line = refusal(get("cnn_dm", "--cnn_dm_revision", "gone"))
    assert "abisee/cnn_dailymail has no revision gone; give another: --cnn_dm_revision main" in line
    shutil.rmtree(cnn_dm)
    assert "abisee/cnn_dailymail does not exist (any more); take the reference's own" in refusal(get("cnn_dm"))
    hub.close()
    assert "EdinburghNLP/xsum could not be fetched" in refusal(get("xsum"))


def test_other_files_in_the_folder_are_left_alone(cnn_dm: Path, get: Get, tmp_path: Path) -> None:
    (tmp_path / "data" / "cnn_dm").mkdir(parents=True)
    (tmp_path / "data" / "cnn_dm" / "train.source").write_text("mine\n")
    assert "holds other files (no corpus.json of this program)" in refusal(get("cnn_dm", *COUNTS))
    assert (tmp_path / "data" / "cnn_dm" / "train.source").read_text() == "mine\n"
