"""Runs a program: parses its command line, and turns bad input and signals into one line and an exit code."""

import io
import logging
import os
import re
import sys
from collections.abc import Callable, Sequence

from bart.errors import InputError, OutOfMemory

from ..runtime.signals import Interrupted, raise_on_signal
from ..runtime.system_limits import LimitReached, limit_reached
from .options import ArgumentsType
from .parser import parse_arguments

ARGUMENT_NAMES = "BART_ARGUMENT_NAMES"  # environment variable that scripts set to `fp16=PREC bf16=PREC ...`


def run_command(
    arguments_class: type[ArgumentsType], description: str, command: Callable[[ArgumentsType], None]
) -> int:
    """Parse the command line and call ``command`` with the arguments. Print in UTF-8, as files are written.

    Bad input, a limit of the system that is reached, and a signal that ends the program (see utils/runtime/signals.py)
    print one line to stderr. If processes work together, the first one of each machine prints it: machines may fail for
    different reasons. A limit, and ``OutOfMemory``, are printed by the process in which they are raised.

    Returns:
        The exit code: 0, or 2 for bad input or a limit, 130 for SIGINT, 143 for another signal.
    """
    _use_utf8()

    # Only one process of a machine prints messages and the library's warnings.
    prints_errors = os.environ.get("LOCAL_RANK", "0") == "0"
    if not prints_errors:
        logging.getLogger("bart").setLevel(logging.ERROR)

    # The program itself.
    raise_on_signal()
    try:
        _check_utf8(sys.argv[1:])
        command(parse_arguments(arguments_class, description, sys.argv[1:]))
    except InputError as error:
        names_limit = isinstance(error, OutOfMemory | LimitReached)
        limit = None if names_limit else limit_reached(error.__cause__)
        if prints_errors or names_limit or limit is not None:
            _print_error(str(error) if limit is None else f"{error}; {limit}")
        return 2
    except Interrupted as interruption:
        if prints_errors:
            print(f"{interruption}: interrupted", file=sys.stderr)
        return interruption.exit_code
    except Exception as error:
        limit = limit_reached(error)
        if limit is None:
            raise
        _print_error(limit)
        return 2
    return 0


def _use_utf8() -> None:
    """Write the standard streams in UTF-8, whatever the locale says. Input is read in bytes.

    What is no UTF-8, such as the name of a folder, is escaped as JSON does it.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # not None, which stands for a stream that is closed
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")


def _check_utf8(arguments: Sequence[str]) -> None:
    """Raise InputError if an argument is no UTF-8: JSON and the tokenizers cannot hold such a name of a file."""
    for argument in arguments:
        if any("\ud800" <= character <= "\udfff" for character in argument):
            raise InputError(
                f"{argument}: is not in UTF-8; rename the file or folder, or set LC_ALL to C.UTF-8 if the locale is"
                " another one"
            )


def _print_error(message: str) -> None:
    print("error:", " ".join(with_argument_names(message).split()), file=sys.stderr)


def with_argument_names(message: str) -> str:
    """Add the name of the shell script's argument to each flag in a message, such as ``--fp16 (PREC)``.

    Without a script that sets ARGUMENT_NAMES the message stays as it is.
    """
    names = dict(pair.split("=") for pair in os.environ.get(ARGUMENT_NAMES, "").split())
    return re.sub(r"--(\w+)", lambda flag: f"{flag[0]} ({names[flag[1]]})" if flag[1] in names else flag[0], message)
