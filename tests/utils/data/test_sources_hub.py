"""Opens DATA_DIR as a data set of a hub on the loopback interface, with the real client."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from tests.loopback_hub import LoopbackHub
from utils.data.divided import split_of
from utils.data.splits import read_pairs

ROOT = Path(__file__).parents[3]
# Reads one split after another. It runs in a process of its own, as the client reads HF_ENDPOINT when it is imported.
ASK = """
import json, sys
from bart.errors import InputError
from utils.cli.shared_args import shares_of
from utils.data.divided import open_splits
from utils.data.formats.tables import AskedColumns
for asked, split in json.loads(sys.argv[1]):
    data_dir, *shares = asked.split()
    try:
        data = open_splits(data_dir, AskedColumns(), shares_of(shares[0] if shares else None))
        print(json.dumps(str(data.lines_of(split))))
    except InputError as error:
        print(json.dumps({"error": str(error)}))
"""


def ask(hub: LoopbackHub, tmp_path: Path, *asked: tuple[str, str]) -> list[str]:
    """Return lines: messages about the hub if any, then for each split its joined sources or the error."""
    environment = {**os.environ, **hub.environment(tmp_path / "hf"), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    process = subprocess.run(
        [sys.executable, "-c", ASK, json.dumps(asked)],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    answers, splits = [], iter(asked)
    for line in process.stdout.splitlines():
        if line.startswith('"'):
            answers.append(" ".join(read_pairs(json.loads(line), next(splits)[1]).sources))
        elif line.startswith("{"):
            next(splits)
            answers.append(json.loads(line)["error"])
        elif "cannot be reached" in line:
            answers.append(line)
    return answers


def write_table(path: Path, texts: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.table({"document": texts, "summary": texts}), path)


@pytest.fixture
def hub(tmp_path: Path):
    owner = tmp_path / "hub" / "datasets" / "owner"
    write_table(owner / "shards" / "data" / "train-00000-of-00002.parquet", ["a", "b"])
    write_table(owner / "shards" / "data" / "train-00001-of-00002.parquet", ["c"])
    (owner / "shards" / "data" / "validation.csv").write_text("text,summary\nd,D\n")
    (owner / "shards" / "data" / "test.jsonl").write_text('{"dialogue": "e", "summary": "E"}\n')
    write_table(owner / "shards@old" / "data" / "test-00000-of-00001.parquet", ["old"])
    for config in ("1.0.0", "2.0.0"):
        write_table(owner / "configs" / config / "test-00000-of-00001.parquet", [config])
    (owner / "script").mkdir()
    (owner / "script" / "script.py").write_text("")
    write_table(owner / "script@refs_convert_parquet" / "default" / "test" / "0000.parquet", ["converted"])
    write_table(owner / "single" / "train.parquet", list("abcdefgh"))
    (owner / "nothing").mkdir()
    (owner / "nothing" / "README.md").write_text("")
    with LoopbackHub(tmp_path / "hub") as hub:
        hub.no_revisions = {"gone"}
        yield hub


def test_what_is_on_the_hub(hub: LoopbackHub, tmp_path: Path) -> None:
    cases = {
        ("owner/shards", "train"): "a b c",
        ("owner/shards", "val"): "d",
        ("owner/shards", "test"): "e",
        ("owner/shards@old", "test"): "old",
        ("owner/configs:2.0.0", "test"): "2.0.0",
        ("owner/configs@main:1.0.0", "test"): "1.0.0",
        ("owner/script", "test"): "converted",
        ("owner/single 0.4,0.3,0.3", "test"): " ".join(
            text for text in "abcdefgh" if split_of(text, (0.4, 0.3, 0.3)) == "test"
        ),
        ("owner/shards 0.4,0.3,0.3", "test"): "--split: owner/shards has a val split already; omit --split, or move",
        ("owner/configs", "test"): "has several configurations: it has tables in the folders 1.0.0, 2.0.0; give one",
        ("owner/configs:3", "test"): "has no configuration 3: it has tables in the folders 1.0.0, 2.0.0; give one",
        ("owner/script", "train"): "owner/script has no table of the split train; give another: owner/script@REVISION",
        ("owner/nothing", "test"): "owner/nothing has no table of the split test",
        ("owner/shards@gone", "test"): "owner/shards has no revision gone; give another: owner/shards@REVISION",
        ("owner/absent", "test"): "owner/absent does not exist (any more); give a folder of your own (owner/absent is",
    }
    answers = ask(hub, tmp_path, *cases)
    for answer, (case, expected) in zip(answers, cases.items(), strict=True):
        assert expected == answer or (len(expected) > 20 and expected in answer), case

    files = [path for _, path in hub.requests if "/resolve/" in path]
    assert ask(hub, tmp_path, ("owner/shards", "train")) == ["a b c"]
    assert [path for _, path in hub.requests if "/resolve/" in path] == files  # nothing is downloaded again

    # If the hub cannot be reached, the line files made before are used, and a message says so.
    hub.close()
    said, lines, fault = ask(hub, tmp_path, ("owner/shards", "test"), ("owner/never", "test"))
    assert said.startswith("owner/shards: the hub cannot be reached; using the data set as last seen, at ")
    assert lines == "e"
    assert "owner/never could not be fetched" in fault and "give a folder of your own" in fault
