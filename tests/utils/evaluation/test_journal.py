"""The journal of an evaluation: what is kept, dropped and refused."""

import hashlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from bart.errors import InputError
from bart.modeling.modeling_bart import BartForConditionalGeneration
from bart.tokenization.tokenization_bart import BartTokenizer
from tests.kills import Killed, kill, kill_after_appends
from tests.tiny_setup import tiny_config
from utils.data.splits import Pairs
from utils.evaluation import evaluate as evaluation
from utils.evaluation import journal as journals
from utils.evaluation import scoring
from utils.evaluation.evaluate import EvaluationSettings, evaluate
from utils.evaluation.generate import BatchSize, Generations
from utils.evaluation.journal import Journal, Row, delete_journals, open_journal, weights_digest
from utils.recipes import evaluate as recipe
from utils.runtime.evaluation_group import EvaluationGroup
from utils.runtime.signals import Interrupted

KEY = {"weights": "a" * 64, "num_beams": 4}
ROWS = {
    2: Row(["one\u2028line", "emoji \N{GRINNING FACE}"], False, None, 0),
    0: Row(["", ""], True, 0.1 + 0.2, 0),
    5: Row(["six", "6"], False, 1e-9, 0),
}


def opened(folder: Path, resume: bool = True, key: dict[str, Any] = KEY) -> Journal:
    return open_journal(folder, "test", key, resume, EvaluationGroup())


def written(folder: Path) -> Path:
    """Three rows in two batches."""
    journal = opened(folder)
    journal.append({number: ROWS[number] for number in (2, 0)})
    journal.append({5: ROWS[5]})
    journal.close()
    return folder / "test_journal.0.jsonl"


def test_what_is_appended_is_read(tmp_path: Path) -> None:
    """To the last bit, also in a second start, which appends."""
    path = written(tmp_path)
    before = path.read_bytes()
    journal = opened(tmp_path)
    assert journal.known == ROWS and journal.known_to_all == {0, 2, 5}
    journal.append({7: ROWS[5]})
    journal.close()
    assert path.read_bytes().startswith(before)
    assert opened(tmp_path).known == {**ROWS, 7: ROWS[5]}
    assert opened(tmp_path, resume=False).known == {} and path.read_bytes().count(b"\n") == 1


def test_wherever_it_is_cut(tmp_path: Path) -> None:
    """Whole lines are kept; what is appended then is read after the next start."""
    path = written(tmp_path)
    content = path.read_bytes()
    for size in range(len(content)):
        path.write_bytes(content[:size])
        journal = opened(tmp_path)
        whole = max(0, content[:size].count(b"\n") - 1)
        assert journal.known == dict(list(ROWS.items())[:whole])
        journal.append({9: ROWS[0]})
        journal.close()
        assert opened(tmp_path).known == {**dict(list(ROWS.items())[:whole]), 9: ROWS[0]}


def test_wherever_a_byte_is_damaged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """That line and all behind it are dropped; a damaged header makes a new journal."""
    path = written(tmp_path)
    content = path.read_bytes()
    for place in range(0, len(content), 3):
        path.write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
        line = content[:place].count(b"\n")
        assert opened(tmp_path).known == dict(list(ROWS.items())[: max(0, line - 1)]), place
        if line < 3:
            assert f"{path}: line {line + 1} is damaged" in capsys.readouterr().out


def test_zeros_of_a_power_cut(tmp_path: Path) -> None:
    path = written(tmp_path)
    content = path.read_bytes()
    path.write_bytes(content[:-20] + bytes(5000))
    assert opened(tmp_path).known == {number: ROWS[number] for number in (2, 0)}


def test_what_a_power_cut_may_cost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The header and the name of the file are synced at once; later at most three seconds of rows are not."""
    path, synced, folders, now = tmp_path / "test_journal.0.jsonl", [0], [], [100.0]
    monkeypatch.setattr(journals.os, "fsync", lambda _: synced.append(path.stat().st_size))
    monkeypatch.setattr(journals, "sync_folder", lambda folder: folders.append((folder, path.stat().st_size)))
    monkeypatch.setattr(journals.time, "monotonic", lambda: now[0])
    journal = opened(tmp_path)
    assert folders == [(tmp_path, synced[-1])] and synced[-1] == path.stat().st_size > 0

    # Each row has the time at which it comes; those that are not synced came within three seconds.
    comes: list[tuple[float, int]] = []
    for number, pause in enumerate([0.1, 2.0, 0.8, 0.2, 2.9, 60.0, 1.0, 600.0, 0.5]):
        now[0] += pause
        journal.append({number: ROWS[0]})
        comes.append((now[0], path.stat().st_size))
        pending = [when for when, size in comes if size > synced[-1]]
        assert not pending or pending[-1] - pending[0] < 3
    assert pending
    journal.sync()
    assert synced[-1] == path.stat().st_size and len(synced) < 2 + len(comes)


def test_another_key(tmp_path: Path) -> None:
    path = written(tmp_path)
    content = path.read_bytes()
    for other, difference in (
        ({**KEY, "num_beams": 5}, "num_beams 4, now 5"),
        ({**KEY, "weights": "b" * 64}, "other weights"),
        ({"num_beams": 4, "seed": 1}, "other weights, seed None, now 1"),
    ):
        with pytest.raises(InputError, match=rf"^--resume: {path} is of another evaluation \({difference}\)"):
            opened(tmp_path, key=other)
    assert path.read_bytes() == content


@pytest.mark.parametrize("processes", [1, 2])
def test_another_key_is_discarded(tmp_path: Path, capsys: pytest.CaptureFixture[str], processes: int) -> None:
    """With one warning line; journals of this evaluation stay, and so does no other one."""
    key = {**KEY, "num_beams": 5}
    first = written(tmp_path)
    (tmp_path / "test_journal.7.jsonl").write_bytes(first.read_bytes())
    other = opened(tmp_path / "..", key=key)
    other.append({9: ROWS[0]})
    other.close()
    (tmp_path / ".." / first.name).rename(tmp_path / "test_journal.1.jsonl")

    journals_of_all = run_as_threads(
        processes, lambda group: open_journal(tmp_path, "test", key, True, group, discard_other=True)
    )
    assert {number for journal in journals_of_all for number in journal.known} == {9}
    warning = f"warning: {first} is of another evaluation (num_beams 4, now 5): it is deleted"
    assert [line.startswith(warning) for line in capsys.readouterr().out.splitlines()] == [True]
    assert sorted(path.name for path in tmp_path.iterdir()) == [first.name, "test_journal.1.jsonl"]
    assert opened(tmp_path, key=key).known == {9: ROWS[0]}


def test_each_row_has_one_process_that_answers_for_it(tmp_path: Path) -> None:
    """Both have read the same files."""
    written(tmp_path)

    class Second(EvaluationGroup):
        def gather(self, value: Any) -> list[Any]:
            return [(None, {0, 2}), value]

    journal = open_journal(tmp_path, "test", KEY, True, Second(1, 2))
    assert journal.known == {5: ROWS[5]} and journal.known_to_all == {0, 2, 5}


def test_the_first_journal_is_deleted_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has all rows when the results are written, so a kill in between loses none."""
    deleted, unlink = [], Path.unlink

    def noted(path: Path, missing_ok: bool = False) -> None:
        deleted.append(path.name)
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", noted)
    for ranks in ([0, 1, 2, 10], [10, 2, 1, 0]):
        for rank in ranks:
            (tmp_path / f"test_journal.{rank}.jsonl").touch()
        deleted.clear()
        delete_journals(tmp_path, "test")
        assert len(deleted) == 4 and deleted[-1] == "test_journal.0.jsonl"


def test_the_weights_digest_sees_every_bit() -> None:
    model = BartForConditionalGeneration(tiny_config())
    before = weights_digest(model)
    assert len(before) == len(hashlib.sha256().hexdigest())
    with torch.no_grad():
        bias = model.model.decoder.layers[0].fc1.bias
        bias.view(torch.int32)[3] ^= 1
        assert weights_digest(model) != before
        bias.view(torch.int32)[3] ^= 1
        assert weights_digest(model) == before
        assert weights_digest(model.bfloat16()) != before


@pytest.fixture
def model() -> BartForConditionalGeneration:
    torch.manual_seed(0)
    return BartForConditionalGeneration(tiny_config().copy(init_std=0.3)).eval().double()


PAIRS = Pairs([f"text number {row} " * (row % 7 + 1) for row in range(23)], ["a text"] * 23)
SETTINGS = EvaluationSettings("test", " ", BatchSize(4), 64, "truncate", {"max_length": 12}, resume=True)


def run(
    model: BartForConditionalGeneration, tokenizer: BartTokenizer, folder: Path, settings: EvaluationSettings
) -> str:
    """Evaluate; returns the generations."""
    recipe.evaluate_and_write(model, tokenizer, PAIRS, settings, folder, {"model": "m"})
    assert not list(folder.glob("*journal*"))
    return (folder / "test_generations.txt").read_text()


@pytest.mark.parametrize("size", [BatchSize(4), BatchSize(1), BatchSize(5), BatchSize(23), BatchSize(1, tokens=100)])
def test_another_batch_size_goes_on_in_float64(
    model: BartForConditionalGeneration,
    tokenizer: BartTokenizer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    size: BatchSize,
) -> None:
    """A part of its batches is known; those that are known in part are generated whole."""
    (tmp_path / "whole").mkdir()
    whole = run(model, tokenizer, tmp_path / "whole", SETTINGS)
    kill_after_appends(monkeypatch, 3)
    with pytest.raises(Killed):
        run(model, tokenizer, tmp_path, SETTINGS)
    known = (tmp_path / "test_journal.0.jsonl").read_bytes().count(b"\n") - 1
    assert 12 <= known < 23
    assert run(model, tokenizer, tmp_path, replace(SETTINGS, batch_size=size)) == whole


class Threads(EvaluationGroup):
    """Processes that are threads."""

    def __init__(self, rank: int, values: list[Any], barrier: threading.Barrier) -> None:
        super().__init__(rank, len(values))
        self._values, self._barrier = values, barrier

    def gather(self, value: Any) -> list[Any]:
        self._values[self.rank] = value
        self._barrier.wait(60)
        values = list(self._values)
        self._barrier.wait(60)
        return values


def run_as_threads(count: int, evaluation_of: Callable[[EvaluationGroup], Any]) -> list[Any]:
    """Evaluate in several threads; returns what each has returned or raised."""
    values: list[Any] = [None] * count
    barrier = threading.Barrier(count)

    def result(rank: int) -> Any:
        try:
            return evaluation_of(Threads(rank, values, barrier))
        except BaseException as error:
            return error

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(result, range(count)))


@pytest.mark.parametrize("processes", [1, 2])
def test_the_first_journal_gets_all_rows(
    model: BartForConditionalGeneration,
    tokenizer: BartTokenizer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    processes: int,
) -> None:
    """Those read from other journals too: killed behind the search, the next start generates nothing."""
    (tmp_path / "whole").mkdir()
    whole = run(model, tokenizer, tmp_path / "whole", SETTINGS)

    # Rows in the journals of two processes, the second of which may have no successor.
    monkeypatch.setattr(evaluation, "score_summaries", kill)
    with pytest.raises(Killed):
        run(model, tokenizer, tmp_path, SETTINGS)
    first, second = tmp_path / "test_journal.0.jsonl", tmp_path / "test_journal.1.jsonl"
    header, *rows = first.read_bytes().splitlines(keepends=True)
    first.write_bytes(header + b"".join(rows[:9]))
    second.write_bytes(header + b"".join(rows[9:]))

    # Two starts with nothing left to generate, both killed in the scoring.
    monkeypatch.setattr(model, "generate", kill)
    for _ in range(2):
        results = run_as_threads(
            processes, lambda group: evaluate(model, tokenizer, PAIRS, SETTINGS, tmp_path, {}, group)
        )
        assert isinstance(results[0], Killed) and results[1:] == [None] * (processes - 1)
        assert second.exists() == (processes == 1)
        assert sorted(first.read_bytes().splitlines(keepends=True)) == sorted([header, *rows])
    second.unlink(missing_ok=True)
    monkeypatch.undo()
    monkeypatch.setattr(model, "generate", kill)
    assert run(model, tokenizer, tmp_path, SETTINGS) == whole


def test_the_times_of_two_processes_stay_apart(tmp_path: Path) -> None:
    """Behind the search the first process has the rows of both; 5 seconds of each are not 10 of one."""
    journal = opened(tmp_path)
    rows = {rank: Row(["a text"], False, 5.0, rank) for rank in (0, 1)}
    journal.append({0: rows[0]})
    journal.append_missing(rows)
    journal.close()
    assert Generations(opened(tmp_path).known).longest_seconds == 5


@pytest.mark.parametrize("name", ["example_scores", "summary_traits", "write_json", "write_page"])
def test_killed_behind_the_search(
    model: BartForConditionalGeneration,
    tokenizer: BartTokenizer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    """In the scoring or the page: nothing is generated a second time."""
    (tmp_path / "whole").mkdir()
    whole = run(model, tokenizer, tmp_path / "whole", SETTINGS)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr({"write_page": recipe, "write_json": evaluation}.get(name, scoring), name, kill)
        run(model, tokenizer, tmp_path, SETTINGS)
    (tmp_path / ".test_example_scores.json.go_1b32a.part").touch()  # as SIGKILL leaves it
    monkeypatch.setattr(model, "generate", kill)
    assert run(model, tokenizer, tmp_path, SETTINGS) == whole
    assert not list(tmp_path.glob(".*"))


def test_synced_before_the_wait_for_others(
    model: BartForConditionalGeneration, tokenizer: BartTokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, synced = tmp_path / "test_journal.0.jsonl", [0]
    monkeypatch.setattr(journals.os, "fsync", lambda _: synced.append(path.stat().st_size))

    class Slow(EvaluationGroup):
        def gather_to_first(self, value: Any) -> list[Any] | None:
            assert synced[-1] == path.stat().st_size and path.read_bytes().count(b"\n") == 1 + len(PAIRS)
            raise Killed

    with pytest.raises(Killed):
        evaluate(model, tokenizer, PAIRS, SETTINGS, tmp_path, {}, Slow())


def test_a_signal_in_the_search(
    model: BartForConditionalGeneration,
    tokenizer: BartTokenizer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What is decoded while the signal comes is written."""
    generate, calls = model.generate, []

    def told(*given: Any, **search: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            raise Interrupted(15)
        return generate(*given, **search)

    monkeypatch.setattr(model, "generate", told)
    with pytest.raises(Interrupted):
        evaluate(model, tokenizer, PAIRS, SETTINGS, tmp_path, {})
    assert "the same command with --resume goes on" in capsys.readouterr().out
    assert (tmp_path / "test_journal.0.jsonl").read_bytes().count(b"\n") == 1 + 8
