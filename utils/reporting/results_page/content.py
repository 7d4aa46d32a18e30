"""Reads a results folder into the tables and charts of its page."""

import os
import shlex
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bart.errors import InputError

from ...evaluation.reranked_report import method_text
from ...evaluation.rouge import ROUGE_TYPES, tokenizer_of
from ...io.json_files import read_json
from ...io.run_files import BEAM_SEARCH_FOLDER, PRETRAINED_FOLDER
from .charts import Chart, Series
from .published import CORPUS_NAMES, OTHERS, PUBLISHED, OtherScores, Published, corpus_of

# Folders below the results folder in which run_eval.py and the quickstart put evaluations, and their names on the page.
COMPARED_WITH = {
    BEAM_SEARCH_FOLDER: "beam search alone, without re-ranking",
    "shuffled_sources": "the same, given another text",
    PRETRAINED_FOLDER: "the pretrained model as it came",
    "from_scratch": "fine-tuned from random weights",
    "first_sentence": "first sentence of the text",
}
_ENDING = "_rouge.json"


@dataclass
class ScoreRow:
    """ROUGE values of an evaluation by type, and their 95% intervals if they are known."""

    name: str
    split: str
    scores: dict[str, float]
    intervals: dict[str, list[float]] = field(default_factory=dict)
    examples: int | None = None
    is_own: bool = False  # an evaluation of the folder itself, not one to compare it with


@dataclass
class Content:
    """Everything on the page but the examples."""

    title: str
    report: dict[str, Any] | None  # of the evaluation whose examples are shown
    model: str | None  # that it evaluated: its path within the folder, if it is there
    rows: list[ScoreRow]
    corpus: str | None  # None if there are no published scores for it
    charts: list[Chart]
    validations: list[dict[str, float]]
    run: dict[str, Any] | None  # run.json
    commands: list[tuple[str, str]]  # "Training" or "Evaluation", and its command line

    @property
    def method(self) -> str | None:
        """How the summaries of the evaluation were re-ranked, if they were."""
        return method_text(self.report["rerank"]) if self.report and "rerank" in self.report else None

    @property
    def traits_rows(self) -> list[tuple[str, dict[str, Any]]]:
        """The rows of the table of traits by name; the first is of the evaluation itself."""
        assert self.report is not None
        traits = self.report["traits"]
        rows = [("generated", traits["generated"])]
        if "rerank" in self.report:
            rows.append(("beam search alone", self.report["rerank"]["beam_search"]["traits"]["generated"]))
        return rows + [(name, traits[name]) for name in ("references",) if name in traits]

    @property
    def published(self) -> list[tuple[str, list[Published]]]:
        """The reference's tables by name: that of this corpus, or all if its name tells none."""
        return [(CORPUS_NAMES[name], rows) for name, rows in PUBLISHED.items() if self.corpus in (None, name)]

    @property
    def others(self) -> list[OtherScores]:
        """What others published for this corpus, if the reference has nothing."""
        return OTHERS.get(self.corpus or "", [])


def collect(folder: Path, report: dict[str, Any] | None) -> Content:
    """Read a results folder.

    Args:
        folder: The results folder.
        report: The evaluation to show, if there is one.

    Raises:
        InputError: A file does not have the form that this project writes.
    """
    run = _read_if_there(folder / "run.json")
    metrics = {"train": [], "validation": [], "speed": [], **(_read_if_there(folder / "metrics.json") or {})}
    arguments = (run or {}).get("arguments", {})
    data_dir = str((report or {}).get("data_dir") or arguments.get("data_dir") or "")
    teacher_forced = not arguments.get("eval_beams")
    commands = [("Training", run["command"])] if run else []
    if report and "command" in report and report["command"] != (run or {}).get("command"):
        commands.append(("Evaluation", report["command"]))
    return Content(
        title=folder.resolve().name,
        report=report,
        model=_model_name(folder, (report or {}).get("model")),
        rows=_score_rows(folder),
        corpus=corpus_of(data_dir),
        charts=[chart for chart in _charts(metrics, teacher_forced) if chart.svg],
        validations=metrics["validation"],
        run=run,
        commands=[(name, _command_text(command)) for name, command in commands],
    )


def _model_name(folder: Path, model: str | None) -> str | None:
    if model is None:
        return None
    path, whole = (Path(os.path.abspath(name)) for name in (model, folder))
    return str(path.relative_to(whole)) if whole in path.parents else model


def _score_rows(folder: Path) -> list[ScoreRow]:
    """Read the folder's own evaluations, then those in folders below it; known names come first, in their order."""
    own = [_score_row("this run", path, is_own=True) for path in sorted(folder.glob(f"*{_ENDING}"))]
    order = list(COMPARED_WITH)
    below = sorted(
        folder.glob(f"*/*{_ENDING}"),
        key=lambda path: (order.index(path.parent.name) if path.parent.name in order else len(order), str(path)),
    )
    others = []
    for path in below:
        name = COMPARED_WITH.get(path.parent.name, path.parent.name)
        with suppress(InputError, KeyError, TypeError):  # another program's file
            others.append(_score_row(name, path))
    return [*own, *others]


def _score_row(name: str, path: Path, is_own: bool = False) -> ScoreRow:
    report = read_json(path)
    scores = {rouge: report[rouge] for rouge in ROUGE_TYPES}
    if "rerank" in report:
        name = f"{name}, {method_text(report['rerank'])}"
    if tokenizer_of(report.get("scorer", {})) == "unicode":
        name = f"{name}, scored by Unicode words"
    return ScoreRow(
        name, path.name.removesuffix(_ENDING), scores, report.get("intervals_95", {}), report.get("n_obs"), is_own
    )


def _charts(metrics: dict[str, Any], teacher_forced: bool) -> list[Chart]:
    train, validation, speed = metrics["train"], metrics["validation"], metrics["speed"]
    rouge_note = (
        "Teacher-forced: each token follows the reference's own, so generated summaries have lower scores."
        if teacher_forced
        else "Of generated summaries."
    )
    return [
        Chart(
            "Loss",
            "per target token",
            [_series("training", train, "loss"), _series("validation", validation, "loss")],
            "Only the training loss includes dropout and label smoothing, so compare each line with itself alone.",
        ),
        Chart(
            "ROUGE of validation",
            "F-measure times 100",
            [_series(name.replace("rouge", "ROUGE-"), validation, name) for name in ROUGE_TYPES],
            rouge_note,
        ),
        Chart("Learning rate", "", [_series("learning rate", train, "learning_rate")]),
        Chart("Throughput", "source and target tokens per second", [_series("tokens/s", speed, "tokens_per_second")]),
    ]


def _series(name: str, records: list[dict[str, Any]], key: str) -> Series:
    return Series(name, [(one["step"], one[key]) for one in records if one.get(key) is not None])


def _command_text(command: list[str]) -> str:
    """Write a command as it is typed: in the checkout, or anywhere if the program is installed."""
    program = Path(command[0])
    if program.suffix != ".py":  # a console script
        start = [program.name]
    elif program.parent.name == "commands":
        start = ["python", "-m", f"{program.parent.parent.name}.commands.{program.stem}"]
    else:
        start = ["python", program.name]
    return shlex.join([*start, *command[1:]])


def _read_if_there(path: Path) -> Any:
    return read_json(path) if path.exists() else None
