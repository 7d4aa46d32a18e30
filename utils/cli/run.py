"""Runs a program: reads its command line, and turns bad input and signals into one line and an exit code."""

import logging
import os
import re
import sys
from collections.abc import Callable

from bart.errors import InputError, OutOfMemory

from ..runtime.signals import Interrupted, raise_on_signal
from .options import ArgumentsType
from .parser import parse_arguments

ARGUMENT_NAMES = "BART_ARGUMENT_NAMES"  # variable of the environment in which scripts say `fp16=PREC bf16=PREC ...`


def run_command(
    arguments_class: type[ArgumentsType], description: str, command: Callable[[ArgumentsType], None]
) -> int:
    """Parse the command line and run; returns the exit code. Bad input is one line on stderr and the code 2.

    So is a signal that ends the program (see utils/runtime/signals.py), with the code 130 or 143. Of the processes of a
    machine that work together the first one says it, for all of them; on another machine it may be for another reason.
    """
    speaks = os.environ.get("LOCAL_RANK", "0") == "0"
    if not speaks:
        logging.getLogger("bart").setLevel(logging.ERROR)
    raise_on_signal()
    try:
        command(parse_arguments(arguments_class, description, sys.argv[1:]))
    except InputError as error:
        if speaks or isinstance(error, OutOfMemory):
            print("error:", " ".join(with_argument_names(str(error)).split()), file=sys.stderr)
        return 2
    except Interrupted as told:
        if speaks:
            print(f"{told}: told to end", file=sys.stderr)
        return told.exit_code
    return 0


def with_argument_names(message: str) -> str:
    """The message with, behind a flag, the argument of the shell script that it comes from, where one started this."""
    names = dict(pair.split("=") for pair in os.environ.get(ARGUMENT_NAMES, "").split())
    return re.sub(r"--(\w+)", lambda flag: f"{flag[0]} ({names[flag[1]]})" if flag[1] in names else flag[0], message)
