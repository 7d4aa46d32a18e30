"""The standard streams of a program, whatever the locale."""

import os
import subprocess
import sys

import pytest

from tests.commands import ROOT

PROGRAM = """
import os, sys
from dataclasses import dataclass
from utils.cli.run import run_command
from utils.data.text_inputs import find_input
@dataclass
class Arguments:
    def check(self): pass
def echo(_):
    for record in find_input("-", None, False).records():
        print(record.text)
        print(record.text, file=sys.stderr)
    print(os.fsdecode(b"\\xff"))
sys.exit(run_command(Arguments, "", echo))
"""
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
TEXT = "café — 東京 🙂"


def run_program(locale: dict[str, str], *arguments: bytes) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-c", PROGRAM, *arguments]
    environment = {**os.environ, **locale}
    return subprocess.run(
        command, input=f"{TEXT}\n".encode(), capture_output=True, cwd=ROOT, env=environment, timeout=60
    )


@pytest.mark.parametrize(
    "locale",
    [
        {"PYTHONIOENCODING": "latin-1"},
        ASCII,
        {"PYTHONIOENCODING": "utf-8:strict"},
    ],
)
def test_texts_are_in_utf8(locale: dict[str, str]) -> None:
    """A byte that is no UTF-8, as in the name of a folder that is found, is escaped."""
    run = run_program(locale)
    assert run.returncode == 0, run.stderr
    assert run.stdout.decode() == f"{TEXT}\n\\udcff\n" and run.stderr.decode() == f"{TEXT}\n"


@pytest.mark.parametrize("locale", [{"PYTHONUTF8": "1"}, ASCII])
def test_an_argument_that_is_no_utf8(locale: dict[str, str]) -> None:
    """Or that the locale does not let Python read: what would be named by it could not be recorded in JSON."""
    run = run_program(locale, b"caf\xe9" if locale != ASCII else "café".encode())
    assert run.returncode == 2 and run.stderr.startswith(b"error: caf\\udc") and run.stderr.count(b"\n") == 1
    assert b"is not in UTF-8; rename" in run.stderr and run.stdout == b""
