"""From a dataclass whose fields describe themselves to an argparse command line, and from bad input to one line."""

import argparse
import difflib
import json
import logging
import math
import os
import re
import shlex
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import Field, field, fields
from types import NoneType
from typing import Any, NoReturn, Protocol, TypeVar, get_args

from bart.errors import InputError, OutOfMemory

from ..runtime.signals import Interrupted, raise_on_signal

ARGUMENT_NAMES = "BART_ARGUMENT_NAMES"  # variable of the environment in which scripts say `fp16=PREC bf16=PREC ...`

Check = Callable[[Any], str | None]  # what is wrong with a value, or None


class Arguments(Protocol):
    """A dataclass of ``option`` fields."""

    __dataclass_fields__: dict[str, Field[Any]]

    def check(self) -> None:
        """Raise InputError where arguments that are possible one by one are impossible together."""


ArgumentsType = TypeVar("ArgumentsType", bound=Arguments)
_HELP_COLUMNS = (32, 110)  # where explanations begin, and the widest line

# The headings of --help in their order; those of other programs come after them, as they are.
_HEADINGS = {
    "model": "model",
    "data": "data",
    "denoising": "pre-training (--task denoising)",
    "optimization": "optimization",
    "validation": "validation and early stopping",
    "search": "search of summaries",
    "scores": "scores",
    "output": "output",
    "precision": "precision, processes and devices",
}


def option(
    default: Any,
    group: str,
    help: str,
    *,
    choices: Sequence[str] = (),
    check: Check | None = None,
    aliases: Sequence[str] = (),
    positional: bool = False,
    fixed: bool = False,
) -> Any:
    """A dataclass field that is also a flag (or a positional argument) under the heading ``group`` of --help.

    ``fixed`` marks what must stay when a training is resumed, because the steps already done depend on it.
    """
    return field(
        default=default,
        metadata={
            "group": group,
            "help": help,
            "choices": list(choices) or None,
            "check": check,
            "aliases": aliases,
            "positional": positional,
            "fixed": fixed,
        },
    )


def at_least(minimum: float) -> Check:
    """A number from ``minimum`` up."""
    return lambda value: None if value >= minimum else f"give a number from {minimum} up"


def above(minimum: float) -> Check:
    """A number above ``minimum``."""
    return lambda value: None if value > minimum else f"give a number above {minimum}"


def between(minimum: float, maximum: float) -> Check:
    """A number from ``minimum`` to ``maximum``."""
    return lambda value: None if minimum <= value <= maximum else f"give a number from {minimum} to {maximum}"


def all_or_at_least(minimum: int) -> Check:
    """-1 for all there are, or a number from ``minimum`` up."""
    return lambda value: None if value == -1 or value >= minimum else f"give -1 or a number from {minimum} up"


def some_of(*choices: str) -> Check:
    """Some of the choices, with commas between; or ``none``."""
    known = ", ".join(choices)

    def check(value: str) -> str | None:
        names = value.split(",")
        sound = set(names) <= set(choices) and len(set(names)) == len(names)
        return None if sound or value == "none" else f"give none, or one or more of {known}, with commas between"

    return check


def probability(value: float) -> str | None:
    """A number from 0 up, below 1."""
    return None if 0 <= value < 1 else "give a number from 0 up, below 1"


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


def parse_arguments(arguments_class: type[ArgumentsType], description: str, argv: Sequence[str]) -> ArgumentsType:
    """Read a command line. Raises InputError for a flag or value that cannot be; --help prints and exits."""
    values = vars(build_parser(arguments_class, description).parse_args(argv))
    for argument in fields(arguments_class):
        settings_class = argument.metadata.get("settings")
        if settings_class is not None:
            names = [setting.name for setting in fields(settings_class) if setting.name in values]
            values[argument.name] = {name: values.pop(name) for name in names}
    arguments = arguments_class(**values)
    for argument in fields(arguments_class):
        check, value = argument.metadata.get("check"), getattr(arguments, argument.name)
        problem = check(value) if check is not None and value is not None else None
        if problem is not None:
            raise InputError(f"--{argument.name} {value}: {problem}")
    arguments.check()
    return arguments


def build_parser(arguments_class: type[Arguments], description: str) -> argparse.ArgumentParser:
    """A parser of every ``option`` of a dataclass. Flags not given are left out: the class has the defaults."""
    positionals = [argument.name.upper() for argument in fields(arguments_class) if argument.metadata.get("positional")]
    parser = _OneLineParser(
        usage=" ".join(["%(prog)s", *positionals, "[--flag VALUE ...]"]),
        description=description,
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
        formatter_class=_help_formatter,
    )
    names_of_groups = {argument.metadata["group"]: None for argument in fields(arguments_class)}
    in_order = [name for name in _HEADINGS if name in names_of_groups]
    in_order += [name for name in names_of_groups if name not in _HEADINGS]
    groups = {name: parser.add_argument_group(_HEADINGS.get(name, name)) for name in in_order}
    taken: set[str] = set()
    for argument in sorted(fields(arguments_class), key=lambda argument: not argument.metadata.get("positional")):
        described = argument.metadata
        group = groups[described["group"]]
        if "settings" in described:
            for setting in fields(described["settings"]):
                if setting.name not in taken and setting.name not in described["without"]:
                    text = f"{described['meanings'][setting.name]} (default: the configuration's)"
                    group.add_argument(f"--{setting.name}", help=text, **_value_of(setting.type))
            continue
        names = [argument.name, *described["aliases"]]
        taken.update(names)
        text = described["help"] if "(default" in described["help"] else described["help"] + _shown_default(argument)
        if described["positional"]:
            group.add_argument(argument.name, metavar=argument.name.upper(), help=described["help"])
            continue
        group.add_argument(
            *(f"--{name}" for name in names),
            dest=argument.name,
            help=text.replace("%", "%%"),
            **_value_of(argument.type, described["choices"]),
        )
    return parser


def _value_of(annotation: Any, choices: list[str] | None = None) -> dict[str, Any]:
    """The arguments of ``add_argument`` that make argparse read a value of this type."""
    kinds = [kind for kind in get_args(annotation) or (annotation,) if kind is not NoneType]
    if kinds == [bool]:
        return {"action": argparse.BooleanOptionalAction}
    if choices is not None:
        return {"choices": choices}
    if kinds == [int]:
        return {"type": int, "metavar": "N"}
    if kinds == [float]:
        return {"type": _finite_number, "metavar": "X"}
    if kinds == [str]:
        return {"metavar": "TEXT"}
    return {"type": _json_or_text, "metavar": "JSON"}


def _finite_number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError
    return number


_finite_number.__name__ = "number"  # argparse says: invalid number value


def _json_or_text(text: str) -> Any:
    """``true``, ``[[5, 6]]``; what is no JSON is a text, such as ``never``."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _shown_default(argument: Field[Any]) -> str:
    default = argument.default
    if isinstance(default, bool):
        return f" (default: {'yes' if default else 'no'})"
    return "" if default is None else f" (default: {default})"


def _help_formatter(prog: str) -> argparse.HelpFormatter:
    start, widest = _HELP_COLUMNS
    width = min(widest, shutil.get_terminal_size().columns - 2)
    return argparse.HelpFormatter(prog, max_help_position=start, width=width)


class _OneLineParser(argparse.ArgumentParser):
    def parse_args(self, args: Any = None, namespace: Any = None) -> argparse.Namespace:
        """Argparse's own, but that what is unknown is quoted: it may be empty."""
        values, unknown = self.parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {shlex.join(unknown)}")
        return values

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; {self._likely_meant(message)}--help lists all arguments")

    def _likely_meant(self, message: str) -> str:
        unknown = message.removeprefix("unrecognized arguments: ").split("=")[0].partition(" ")[0]
        known = difflib.get_close_matches(unknown, self._option_string_actions, n=1) if unknown[:2] == "--" else []
        return f"did you mean {known[0]}? " if known else ""
