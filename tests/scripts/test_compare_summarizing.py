"""The comparison of ways to summarize does the work it says, on a tiny model."""

from pathlib import Path

import pytest

from bart.errors import InputError
from scripts.benchmark.compare_summarizing import SummarizingArguments, main, make_texts, run_transformers
from tests.tiny_setup import write_random_model, write_tiny_setup
from utils.io.json_files import read_json


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    setup = write_tiny_setup(tmp_path_factory.mktemp("setup"))
    return write_random_model(setup, tmp_path_factory.mktemp("model"))


@pytest.mark.slow
def test_all_three_write_the_same_summaries(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(
        SummarizingArguments(
            model=str(folder), texts=5, words=30, num_beams=2, max_length=12, rounds=1,
            transformers_batch_sizes="2,3", json=str(tmp_path / "report.json"),
        )
    )  # fmt: skip
    results = read_json(tmp_path / "report.json")["results"]
    assert [result["system"] for result in results] == [
        "summarize.sh", "run_eval.py", "transformers, batch 2", "transformers, batch 3"
    ]  # fmt: skip
    assert all(result["same_summaries"] == 1 and result["median"] >= 0 for result in results)
    assert capsys.readouterr().out.count("100.0%") == 4


def test_a_process_that_dies_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(InputError, match="transformers: its process ended with code 1"):
        run_transformers(SummarizingArguments(model=str(tmp_path)), ["a text"], tmp_path, 1)


def test_the_memory_of_a_stream(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(
        SummarizingArguments(
            model=str(folder), texts=20, words=20, num_beams=1, max_length=8, stream=2100,
            json=str(tmp_path / "report.json"),
        )
    )  # fmt: skip
    assert len(read_json(tmp_path / "report.json")["resident_bytes"]) == 3
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["1,000", "2,000", "2,100", "from"]


def test_texts_have_many_lengths() -> None:
    lengths = [len(text.split()) for text in make_texts(SummarizingArguments())]
    assert len(lengths) == 500 and len(set(lengths)) > 200 and 20 < min(lengths) < 80 and 600 < max(lengths) < 2000
