"""Kills of an evaluation within the process of a test."""

import pytest

from utils.evaluation.journal import Journal, Row


class Killed(BaseException):
    """In place of SIGKILL, within this process."""


def kill(*_: object) -> None:
    """Stands in for a function in which the process is killed."""
    raise Killed


def kill_after_appends(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """Let the process be killed when so many batches are in the journal."""
    append, room = Journal.append, [count]

    def killed_later(journal: Journal, rows: dict[int, Row]) -> None:
        append(journal, rows)
        room[0] -= 1
        if room[0] == 0:
            raise Killed

    monkeypatch.setattr(Journal, "append", killed_later)
