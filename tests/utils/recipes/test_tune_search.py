"""A tuning as it is run: what it writes, that a kill does it no harm, and that it leaves the test split alone."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from bart.configuration.configuration_bart import BartConfig
from bart.errors import InputError
from tests.commands import Command, run
from tests.tiny_setup import TinySetup
from utils.cli.options import changed_flags
from utils.cli.parser import parse_arguments
from utils.cli.tuning_args import TuningArguments
from utils.evaluation.rouge import scorer_description
from utils.evaluation.search_grid import TUNED
from utils.io.json_files import read_json
from utils.recipes.tune_search import tune_search

SCRIPT = "utils/commands/tune_search.py"
ROWS = 61
GRID = ["--num_beams", "1,3", "--length_penalty", "1", "--min_length", "0,9", "--no_repeat_ngram_size", "0,3"]
UNICODE = ["--rouge_tokenizer", "unicode"]
FLAGS = [*GRID, "--budget", "6", "--smallest_subset", "7", "--bs", "8", "--metric", "rouge1", *UNICODE]
BEST = {"num_beams": 3, "length_penalty": 1.0, "min_length": 0, "no_repeat_ngram_size": 0}  # one of the six drawn


@pytest.fixture(scope="module")
def data(setup: TinySetup, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Hold a validation split alone. Its targets are what the model writes with the best setting. Read only."""
    parent = tmp_path_factory.mktemp("validation")
    (parent / "data").mkdir()
    shutil.copy(setup.data / "train.source", parent / "data" / "val.source")
    arguments = [str(folder), str(setup.config), str(parent / "data"), str(parent / "written"), "--type_path", "val"]
    search = [word for name, value in BEST.items() for word in (f"--{name}", str(value))]
    run("run_eval.py", [*arguments, *search], parent / "log")
    shutil.copy(parent / "written" / "val_generations.txt", parent / "data" / "val.target")
    return parent / "data"


@pytest.fixture(scope="module")
def whole(setup: TinySetup, folder: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of a tuning that nothing interrupted. Read only."""
    results = tmp_path_factory.mktemp("whole") / "results"
    run(SCRIPT, [str(folder), str(setup.config), str(data), str(results), *FLAGS], results.with_name("log"))
    return results


def tune(arguments: list[Path | str]) -> None:
    """Tune in this process; for what is refused."""
    tune_search(parse_arguments(TuningArguments, "", list(map(str, arguments))))


def test_the_data_that_split_divides_are_those_of_the_evaluation() -> None:
    """The flag stays in the command that evaluates the test split."""
    arguments = parse_arguments(TuningArguments, "", ["model", "config", "data", "out", "--split", "0.8,0.1,0.1"])
    assert arguments.as_evaluation().texts.split == "0.8,0.1,0.1"
    assert changed_flags(arguments.texts, {"data_dir"}) == ["--split", "0.8,0.1,0.1"]


def without_times(report: dict[str, Any]) -> dict[str, Any]:
    for scored in (*report["settings"], *report["finalists"], report["present"]):
        assert scored.pop("seconds") > 0
    del report["command"]
    return report


def test_the_report_has_what_was_tried(setup: TinySetup, whole: Path) -> None:
    report = read_json(whole / "tuning.json")
    assert report["rounds"] == [{"settings": 6, "rows": 21}, {"settings": 2, "rows": ROWS}]
    present, *others = report["settings"]
    given = json.loads(setup.config.read_text())
    assert present["setting"] == {name: given[name] for name in TUNED} and present["examples"] == ROWS
    assert sorted(scored["examples"] for scored in others) == [21] * 4 + [ROWS] * 2
    assert report["scorer"] == scorer_description(tokenizer="unicode")
    assert report["test"]["settings_tried"] == len({json.dumps(scored["setting"]) for scored in others}) == 6


def test_the_best_setting_wins(whole: Path) -> None:
    report = read_json(whole / "tuning.json")
    best, other = report["finalists"]  # texts without a letter or digit score 0
    assert best["setting"] == report["winner"] == report["chosen"] == BEST
    assert best["value"] > 90 and best["gain"] == best["value"] - report["present"]["value"]
    low, high = best["interval_95"]
    assert 0 < low < best["gain"] < high and 0 < best["p"] < best["corrected_p"] < 0.05
    assert other["gain"] <= best["gain"]


def test_each_row_is_generated_once_for_a_setting(whole: Path, data: Path) -> None:
    """Line by line, as each portion has its references; no journal is left."""
    report = read_json(whole / "tuning.json")
    folders = sorted((whole / "scored_settings").iterdir())
    counts = [
        sum(len(path.read_text().splitlines()) for path in folder.glob("*/val_generations.txt")) for folder in folders
    ]
    assert sorted(counts) == sorted(scored["examples"] for scored in report["settings"])
    assert not list(whole.rglob("*journal*"))


def test_the_configuration_has_the_best_setting_and_is_otherwise_as_it_was(setup: TinySetup, whole: Path) -> None:
    given, written = json.loads(setup.config.read_text()), read_json(whole / "config.json")
    assert written == given | BEST and list(written) == list(given)
    search = BartConfig.from_json_file(whole / "config.json").search_settings()
    assert search == read_json(whole / "tuning.json")["search"]


def test_the_configuration_evaluates(folder: Path, data: Path, whole: Path, tmp_path: Path) -> None:
    """With the same scores but for the rounding of other batches."""
    arguments = [str(folder), str(whole / "config.json"), str(data), str(tmp_path / "val"), "--type_path", "val"]
    run("run_eval.py", [*arguments, *UNICODE], tmp_path / "log")
    tuning, evaluation = read_json(whole / "tuning.json"), read_json(tmp_path / "val" / "val_rouge.json")
    assert evaluation["search"] == tuning["search"] and evaluation["beams"] == 3
    assert evaluation["rouge1"] == pytest.approx(tuning["finalists"][0]["value"], abs=1)


def test_killed_three_times_and_with_a_test_split_that_cannot_be_read(
    setup: TinySetup, folder: Path, data: Path, whole: Path, tmp_path: Path
) -> None:
    """Who opens a pipe waits for a writer, whatever the rights: a tuning that read it would not end."""
    copy = tmp_path / "data"
    shutil.copytree(data, copy)
    os.mkfifo(copy / "test.source")
    (copy / "test.target").symlink_to(copy / "missing")
    arguments = [str(folder), str(setup.config), str(copy), str(tmp_path / "results"), *FLAGS, "--resume"]
    for place in ("of 21 examples", "round 2 of 2", "of 61 examples"):
        Command(SCRIPT, arguments, tmp_path / "log").kill_at(place)
        assert not (tmp_path / "results" / "config.json").exists()
    output = run(SCRIPT, arguments, tmp_path / "log")
    assert "complete; nothing is generated" in output
    assert (tmp_path / "results" / "config.json").read_bytes() == (whole / "config.json").read_bytes()
    expected = without_times(read_json(whole / "tuning.json")) | {"data_dir": str(copy)}
    assert without_times(read_json(tmp_path / "results" / "tuning.json")) == expected


@pytest.mark.parametrize("flags", [[], ["--write_best"]])
def test_a_gain_that_may_be_chance(
    setup: TinySetup, folder: Path, data: Path, tmp_path: Path, flags: list[str]
) -> None:
    """With three examples no setting can win."""
    arguments = [str(folder), str(setup.config), str(data), str(tmp_path / "results"), "--n_obs", "3"]
    grid = ["--num_beams", "3", "--length_penalty", "1", "--min_length", "0", "--no_repeat_ngram_size", "0"]
    output = run(SCRIPT, [*arguments, *grid, *flags], tmp_path / "log")
    assert "No setting is better than the present one beyond chance at 5%" in output
    report, written = read_json(tmp_path / "results" / "tuning.json"), read_json(tmp_path / "results" / "config.json")
    assert report["winner"] is None and report["finalists"][0]["gain"] > 0
    assert written == json.loads(setup.config.read_text()) | (BEST if flags else {})
    assert ("is kept" in output) == (not flags)


def test_a_limit_of_flags_goes_into_the_configuration(
    setup: TinySetup, folder: Path, data: Path, tmp_path: Path
) -> None:
    grid = ["--num_beams", "1", "--min_length", "0,5", "--n_obs", "5", "--max_length", "9"]
    others = ["--max_tokens_per_batch", "90", "--long_documents", "chunk"]
    arguments = [str(folder), str(setup.config), str(data), str(tmp_path / "results"), *grid, *others]
    command = run(SCRIPT, arguments, tmp_path / "log").splitlines()[-1]
    assert command.endswith("results/config.json --long_documents chunk --max_tokens_per_batch 90")
    written = read_json(tmp_path / "results" / "config.json")
    assert written == json.loads(setup.config.read_text()) | {"max_length": 9}


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--num_beams", "0,2"], "--num_beams 0,2: give whole numbers from 1 up"),
        (["--min_length", "3,x"], "--min_length 3,x: give whole numbers from 0 up"),
        (["--length_penalty", "1,nan"], "--length_penalty 1,nan: give numbers"),
        (["--min_length", "16"], "--min_length 16: give less than the longest output, which has 16 tokens"),
        (
            ["--num_beams", "2", "--length_penalty", "1", "--min_length", "0", "--no_repeat_ngram_size", "3"],
            "nothing to try",
        ),
    ],
)
def test_impossible_flags(
    setup: TinySetup, folder: Path, data: Path, tmp_path: Path, flags: list[str], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        tune([folder, setup.config, data, tmp_path / "results", *flags])
    assert not (tmp_path / "results").exists()


def test_unusable_files(setup: TinySetup, folder: Path, data: Path, tmp_path: Path) -> None:
    (tmp_path / "texts").mkdir()
    with pytest.raises(InputError, match=r"val\.source: No such file"):
        tune([folder, setup.config, tmp_path / "texts", tmp_path / "results"])
    shutil.copy(data / "val.source", tmp_path / "texts")
    with pytest.raises(InputError, match=r"no val\.target"):
        tune([folder, setup.config, tmp_path / "texts", tmp_path / "results"])
    other = tmp_path / "config.json"
    other.write_text(json.dumps(json.loads(setup.config.read_text()) | {"min_new_tokens": 3}))
    with pytest.raises(InputError, match="min_new_tokens=3 overrides min_length"):
        tune([folder, other, data, tmp_path / "results"])
    assert not (tmp_path / "results").exists()


def test_results_are_not_overwritten(setup: TinySetup, folder: Path, data: Path, whole: Path) -> None:
    with pytest.raises(InputError, match="holds a tuning; give --resume"):
        tune([folder, setup.config, data, whole])
