"""The user's own data as tables, through the real commands."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow
import pyarrow.parquet

from tests.commands import ROOT, refusal, run, run_as_torchrun
from tests.loopback_hub import LoopbackHub
from tests.tiny_setup import EXAMPLES, TinySetup
from utils.data.splits import read_pairs
from utils.io.artifact_cache import FOLDER
from utils.io.json_files import read_json


def write_tables(setup: TinySetup, folder: Path, text: str, summary: str) -> None:
    """The corpus with a table of another kind for each split, the columns under these names."""
    folder.mkdir(parents=True)
    pairs = {split: read_pairs(setup.data, split) for split in EXAMPLES}
    with (folder / "train.csv").open("w", newline="", encoding="utf-8-sig") as file:
        csv.writer(file).writerows([(text, summary), *zip(pairs["train"].sources, pairs["train"].targets, strict=True)])
    with (folder / "validation.jsonl").open("w", encoding="utf-8") as file:
        for source, target in zip(pairs["val"].sources, pairs["val"].targets, strict=True):
            file.write(json.dumps({text: source, summary: target}) + "\n")
    table = pyarrow.table({summary: pairs["test"].targets, text: pairs["test"].sources})
    for number, rows in enumerate((table[:3], table[3:])):
        pyarrow.parquet.write_table(rows, folder / f"test-{number:05}-of-00002.parquet")


def test_two_processes_evaluate_rows_of_a_table(setup: TinySetup, whole_run: Path, tmp_path: Path) -> None:
    """Hostile cells shift no row: the others are answered as in the line files."""
    (tmp_path / "tables").mkdir()
    pairs = read_pairs(setup.data, "test")
    rows = [list(pair) for pair in zip(pairs.sources, pairs.targets, strict=True)]
    rows[2] = ['a "quoted"\r\ncell,\u2028 of\nthree lines', "two\nlines"]
    rows[4] = ["", ""]
    with (tmp_path / "tables" / "test.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("words", "gist"), *rows])
    model = [str(whole_run / "best_tfmr"), str(setup.config)]
    run("run_eval.py", [*model, str(setup.data), str(tmp_path / "lines")], tmp_path / "log")
    columns = ["--text_column", "words", "--summary_column", "gist"]
    table = [*model, str(tmp_path / "tables"), str(tmp_path / "table"), *columns]
    run_as_torchrun("run_eval.py", table, tmp_path / "log", processes=2)
    written = [tmp_path / name / "test_generations.txt" for name in ("lines", "table")]
    lines, answers = (path.read_text(encoding="utf-8").split("\n") for path in written)
    assert len(answers) == len(lines) == EXAMPLES["test"] + 1
    for row in (0, 1, 3, 5, 6):
        assert answers[row] == lines[row]

    (tmp_path / "tables" / "test.csv").write_text("words,gist\na,b\nc\n")
    place = f"{tmp_path / 'tables' / 'test.csv'}: row 2 (line 3) has 1 cells"
    assert place in refusal("run_eval.py", table, tmp_path / "log")
    unnamed = refusal("run_eval.py", table[:4], tmp_path / "log")
    assert "Give --text_column and --summary_column; it has words, gist" in unnamed


def test_a_missing_test_split_is_found_before_training(setup: TinySetup, tmp_path: Path) -> None:
    write_tables(setup, tmp_path / "tables", "document", "summary")
    for path in (tmp_path / "tables").glob("test-*"):
        path.unlink()
    flags = ["--data_dir", str(tmp_path / "tables"), "--output_dir", str(tmp_path / "results"), "--needs_test"]
    line = refusal("finetune.py", [*setup.training_flags, *flags], tmp_path / "log")
    assert f"{tmp_path / 'tables' / 'test.source'}: No such file or directory; a data folder holds" in line
    assert not (tmp_path / "results").exists() and not (tmp_path / "tables" / FOLDER).exists()


def test_the_scripts_take_a_data_set_of_the_hub(setup: TinySetup, tmp_path: Path) -> None:
    """The evaluation reads it with the columns that the training was given."""
    write_tables(setup, tmp_path / "hub" / "datasets" / "someone" / "corpus" / "data", "words", "gist")
    positionals = ["someone/corpus@main", setup.config, 0, 1e-2, 4, 1, "fp32", 2, 1, 64, 8, 2, 8, 3, 1, 2]
    flags = ["--model_name_or_path", "scratch", "--tokenizer_name_or_path", setup.tokenizer, "--no-freeze_embeds"]
    columns = ["--text_column=words", "--summary_column", "gist"]
    command = ["bash", ROOT / "scripts" / "run_summarization.sh", *positionals, *flags, *columns]
    results = tmp_path / "results"
    with LoopbackHub(tmp_path / "hub") as hub:
        environment = {
            **os.environ, **hub.environment(tmp_path / "hf"), "XDG_CACHE_HOME": str(tmp_path / "cache"),
            "PYTHON": sys.executable, "RESULTS_DIR": str(results),
        }  # fmt: skip
        process = subprocess.run(
            list(map(str, command)), env=environment, capture_output=True, text=True, timeout=240
        )
    assert process.returncode == 0, process.stdout + process.stderr
    assert read_json(results / "test_rouge.json")["n_obs"] == EXAMPLES["test"]
    assert read_json(results / "run.json")["examples"] == {"train": EXAMPLES["train"], "val": EXAMPLES["val"]}
    for split, count in EXAMPLES.items():
        said = f"{count} {split} pairs from "
        assert process.stdout.count(said) == 1 and "from the column words, summaries from gist" in process.stdout
