"""scripts/lib/arguments.sh: what follows from a table of arguments."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = r"""
source "$ROOT/scripts/lib/strict.sh"
source "$ROOT/scripts/lib/arguments.sh"

required TEXTS text --texts "a file"
argument RATE 1e-4 number --rate "highest learning rate"
argument STEPS 100 count "--steps --most_steps"
argument PRECISION fp32 precision "--fp16 --bf16 --tf32" "fp16, bf16, tf32 or fp32"
break_usage
argument GPUS 0 device --device
argument RISING 0 whole
argument CORPUS all 'one|other|all' --corpus
explain "STEPS, RISING" "how many, and of these with a rising rate"
explain "--flag ..." "further flags"
variable FOLDER --output_dir

read_arguments "Notes at the end." "$@"
name_arguments
printf '%s\n' "$TEXTS $RATE $STEPS $PRECISION $GPUS $RISING $CORPUS" "${program_flags[*]}" "${flags[*]}"
tr ' ' '\n' <<<"$BART_ARGUMENT_NAMES" | sort | paste -sd ' '
log_defaults
"""
USAGE = """\
usage: bash scripts/table.sh TEXTS [RATE [STEPS [PRECISION
           [GPUS [RISING [one|other|all]]]]]] [--flag ...]

  TEXTS       a file
  RATE        highest learning rate
  PRECISION   fp16, bf16, tf32 or fp32
  STEPS, RISING   how many, and of these with a rising rate
  --flag ...  further flags
Notes at the end.
"""
NAMES = (
    "bf16=PRECISION corpus=CORPUS device=GPUS fp16=PRECISION most_steps=STEPS output_dir=FOLDER rate=RATE steps=STEPS "
    "texts=TEXTS tf32=PRECISION"
)


def run(folder: Path, *arguments: str, script: str = SCRIPT) -> subprocess.CompletedProcess[str]:
    path = folder / "table.sh"
    path.write_text(script)
    environment = os.environ | {"ROOT": str(ROOT)}
    return subprocess.run(["bash", str(path), *arguments], env=environment, capture_output=True, text=True, timeout=60)


def test_usage(tmp_path: Path) -> None:
    """Also if something else is wrong."""
    for arguments in (["--help"], ["-h"], ["a", "fast", "--help"]):
        asked = run(tmp_path, *arguments)
        assert (asked.returncode, asked.stdout, asked.stderr) == (0, USAGE, "")


def test_a_line_of_defaults_if_each_argument_has_one(tmp_path: Path) -> None:
    asked = run(tmp_path, "--help", script=SCRIPT.replace("required TEXTS text", "argument TEXTS a.txt text"))
    usage, defaults = asked.stdout.splitlines()[1:3]
    assert usage.endswith("]]]]]]] [--flag ...]") and defaults == "default:   a.txt 1e-4 100 fp32 0 0 all"


def test_defaults(tmp_path: Path) -> None:
    """An argument that is empty is not given."""
    for rest in ([], ["", "", ""]):
        made = run(tmp_path, "a b", *rest)
        values, flags, further, names = made.stdout.splitlines()
        assert (values, further, names) == ("a b 1e-4 100 fp32 0 0 all", "", NAMES)
        assert flags == "--texts a b --rate 1e-4 --steps 100 --most_steps 100 --device cpu --corpus all"
        assert made.stderr == "defaults used: RATE=1e-4 STEPS=100 PRECISION=fp32 GPUS=0 RISING=0 CORPUS=all\n"


def test_every_argument_given(tmp_path: Path) -> None:
    made = run(tmp_path, "a", "2e-3", "7", "BF16", "2", "5", "other", "--seed", "3", "--more")
    values, flags, further, _ = made.stdout.splitlines()
    assert (values, further, made.stderr) == ("a 2e-3 7 BF16 2 5 other", "--seed 3 --more", "")
    assert flags == "--texts a --rate 2e-3 --steps 7 --most_steps 7 --bf16 --device cuda --corpus other"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "needs at least 1 positional arguments, got 0 (see --help)"),
        ("a 1 1 fp32 0 0 all 8th 9th", "at most 7 positional arguments allowed, 9 given: remove 8th 9th (see --help)"),
        ("a fast", "RATE is 'fast': it must be a number"),
        ("a 1 0", "STEPS is '0': it must be a whole number from 1 up"),
        ("a 1 1 fp8", "PRECISION is 'fp8': it must be fp16, bf16, tf32 or fp32"),
        ("a 1 1 fp32 -1", "GPUS is '-1': it must be a whole number"),
        ("a 1 1 fp32 1 1.5", "RISING is '1.5': it must be a whole number"),
    ],
)
def test_refused(tmp_path: Path, arguments: str, message: str) -> None:
    made = run(tmp_path, *arguments.split())
    assert (made.returncode, made.stdout, made.stderr) == (2, "", f"error: {message}\n")
