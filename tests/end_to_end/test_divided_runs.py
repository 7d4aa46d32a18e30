"""Training and evaluation on one file that --split divides, and on data without a test split, by the real commands."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bart.errors import InputError
from tests.commands import ROOT, run
from tests.tiny_setup import EXAMPLES, TinySetup
from utils.cli.parser import parse_arguments
from utils.cli.training_args import TrainingArguments
from utils.commands.rewrite_pages import PageArguments, write_again
from utils.data.divided import split_of
from utils.data.splits import read_pairs
from utils.data.training_data import read_inputs, tokenize_inputs
from utils.io.json_files import read_json
from utils.runtime.world import WorldInfo

SHARES = "0.6,0.2,0.2"


def write_whole(setup: TinySetup, folder: Path) -> list[str]:
    """Put all pairs of the corpus into one split; returns the sources."""
    folder.mkdir()
    splits = [read_pairs(setup.data, split) for split in EXAMPLES]
    sources = [text for pairs in splits for text in pairs.sources]
    for side, texts in (("source", sources), ("target", [text for pairs in splits for text in pairs.targets or []])):
        (folder / f"train.{side}").write_text("".join(f"{text}\n" for text in texts))
    return sources


def test_the_same_rows_are_tested_everywhere(setup: TinySetup, tmp_path: Path) -> None:
    """They are named by their numbers in the file: beside the summaries, on the page, and in messages."""
    data, results, again = tmp_path / "samsum", tmp_path / "results", tmp_path / "again"
    sources = write_whole(setup, data)
    flags = [*setup.training_flags, "--data_dir", str(data), "--output_dir", str(results), "--split", SHARES]
    short = ["--max_steps", "2", "--warmup_steps", "1"]
    said = run("finetune.py", [*flags, *short, "--n_test", "-1"], tmp_path / "log")
    assert said.count(f"{data}: {len(sources)} pairs, divided by a hash of the text: ") == 1
    evaluation = [str(results / "best_tfmr"), str(setup.config), str(data), str(again), "--split", SHARES]
    run("run_eval.py", [*evaluation, "--n_obs", "5"], tmp_path / "log")

    tested = [row for row, text in enumerate(sources) if split_of(text, (0.6, 0.2, 0.2)) == "test"]
    rows = [(folder / "test_rows.txt").read_text().split() for folder in (results, again)]
    assert rows == [[str(row + 1) for row in tested], [str(row + 1) for row in tested[:5]]]
    answers = [(folder / "test_generations.txt").read_text().split("\n") for folder in (results, again)]
    assert len(answers[0]) == len(tested) + 1 and answers[0][:5] == answers[1][:5]
    assert read_json(results / "test_rouge.json")["data_split"] == SHARES
    page = (results / "results.html").read_bytes()
    assert write_again(PageArguments(str(results))).read_bytes() == page

    assert b"Published by others" in page and b"52.31" in page  # the name of the folder tells the corpus

    lines = [f"word {row}" for row in range(len(sources))]
    long = ("word " * words for words in range(90, 99))
    lines[40] = next(text for text in long if split_of(text, (0.6, 0.2, 0.2)) == "train")
    (data / "train.source").write_text("".join(f"{text}\n" for text in lines))
    limits = ["--max_tokens_per_batch", "71", "--max_target_length", "8"]
    arguments = parse_arguments(TrainingArguments, "", [*flags, *limits])
    inputs = read_inputs(arguments.data, arguments.model, None)
    arguments = arguments.with_lengths_of(inputs.config)
    with pytest.raises(InputError, match=f"{data / 'train.source'}, line 41, has 72 tokens"):
        tokenize_inputs(arguments.data, arguments.optimization, inputs, WorldInfo(on_gpu=False, processes=1, rank=0))


def test_without_a_test_split_the_training_runs(setup: TinySetup, tmp_path: Path) -> None:
    data, results = tmp_path / "data", tmp_path / "results"
    write_whole(setup, data)
    flags = [*setup.training_flags, "--data_dir", str(data), "--output_dir", str(results), "--max_steps", "2"]
    flags += ["--warmup_steps", "1", "--n_test", "-1", "--split", "0.8,0.2,0"]
    line = f"{data}: has no test split, so the evaluation after the training is left out\n"
    assert run("finetune.py", flags, tmp_path / "log").count(line) == 1
    assert (results / "best_tfmr").is_dir() and (results / "results.html").is_file()
    assert read_json(results / "run.json")["no_test_split"] and not list(results.glob("test_*"))


@pytest.mark.slow
@pytest.mark.parametrize("split", ["", SHARES])
def test_the_script_evaluates_what_there_is(setup: TinySetup, tmp_path: Path, split: str) -> None:
    data, results = tmp_path / "data", tmp_path / "results"
    sources = write_whole(setup, data)
    if not split:
        for side in ("source", "target"):
            (data / f"val.{side}").write_bytes((setup.data / f"val.{side}").read_bytes())
    positionals = [data, setup.config, 0, 1e-2, 4, 1, "fp32", 2, 1, 64, 8, 2, 8, 3, 1, 2]
    flags = ["--model_name_or_path", "scratch", "--tokenizer_name_or_path", setup.tokenizer, "--no-freeze_embeds"]
    command = ["bash", ROOT / "scripts" / "run_summarization.sh", *positionals, *flags]
    process = subprocess.run(
        [*map(str, command), *(["--split", split] if split else [])],
        env={**os.environ, "PYTHON": sys.executable, "RESULTS_DIR": str(results)},
        capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert process.returncode == 0, process.stdout + process.stderr
    assert ("has no test split" in process.stdout) == (not split)
    assert (results / "test_rouge.json").exists() == bool(split)
    assert process.stdout.count(f"{len(sources)} pairs, divided by a hash of the text") == (2 if split else 0)
