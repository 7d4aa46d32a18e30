"""Builds an argparse parser from a dataclass of options, and the dataclass from a parsed command line."""

import argparse
import difflib
import json
import math
import shlex
import shutil
from collections.abc import Sequence
from dataclasses import Field, fields
from types import NoneType
from typing import Any, NoReturn, get_args

from bart.errors import InputError

from .options import Arguments, ArgumentsType, check_values, from_values, options_of

_HELP_COLUMNS = (32, 110)  # the column at which help texts begin, and the widest line

# The headings of --help in their order. Headings that are not listed here follow unchanged.
_HEADINGS = {
    "model": "model",
    "data": "data",
    "denoising": "pre-training (--task denoising)",
    "optimization": "optimization",
    "validation": "validation and early stopping",
    "search": "search of summaries",
    "re-ranking": "re-ranking of summaries (docs/better_summaries.md)",
    "scores": "scores",
    "output": "output",
    "precision": "precision, processes and devices",
}


def parse_arguments(arguments_class: type[ArgumentsType], description: str, argv: Sequence[str]) -> ArgumentsType:
    """Parse a command line; --help prints the help and exits.

    Raises InputError if a flag is unknown, a value is not allowed, or a combination is impossible.
    """
    values = vars(build_parser(arguments_class, description).parse_args(argv))

    # Search settings have flags of their own, and are collected in one dictionary.
    for argument in options_of(arguments_class):
        settings_class = argument.metadata.get("settings")
        if settings_class is not None:
            names = [setting.name for setting in fields(settings_class) if setting.name in values]
            values[argument.name] = {name: values.pop(name) for name in names}

    # Each value is checked alone, and then all of them together.
    check_values(arguments_class, values)
    arguments = from_values(arguments_class, values)
    arguments.check()
    return arguments


def build_parser(arguments_class: type[Arguments], description: str) -> argparse.ArgumentParser:
    """Build a parser of every ``option`` of a dataclass.

    Its result has only the flags that were given: the defaults are those of the dataclass.
    """
    # The parser, with a usage line that names the positional arguments alone.
    options = sorted(options_of(arguments_class), key=lambda option: not option.metadata.get("positional"))
    positionals = [option.name.upper() for option in options if option.metadata.get("positional")]
    parser = _OneLineParser(
        usage=" ".join(["%(prog)s", *positionals, "[--flag VALUE ...]"]),
        description=description,
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
        formatter_class=_help_formatter,
    )

    # One group of --help for each heading that has options.
    headings = dict.fromkeys([*_HEADINGS, *(option.metadata["heading"] for option in options)])
    used = {option.metadata["heading"] for option in options}
    groups = {name: parser.add_argument_group(_HEADINGS.get(name, name)) for name in headings if name in used}

    # The flags. An option with "settings" stands for one flag per search setting, unless the name is taken.
    taken: set[str] = set()
    for argument in options:
        described = argument.metadata
        group = groups[described["heading"]]
        if "settings" in described:
            for setting in fields(described["settings"]):
                if setting.name not in taken and "help" in setting.metadata:
                    text = f"{setting.metadata['help']} (default: the configuration's)"
                    group.add_argument(f"--{setting.name}", help=text, **_value_of(setting.type))
            continue
        names = [argument.name, *described["aliases"]]
        taken.update(names)
        text = described["help"] if "(default" in described["help"] else described["help"] + _shown_default(argument)
        if described["positional"]:
            several = {"nargs": "+"} if argument.type == tuple[str, ...] else {}
            group.add_argument(argument.name, metavar=argument.name.upper(), help=described["help"], **several)
            continue
        group.add_argument(
            *(f"--{name}" for name in names),
            dest=argument.name,
            help=text.replace("%", "%%"),
            **_value_of(argument.type, described["choices"]),
        )
    return parser


def _value_of(annotation: Any, choices: list[str] | None = None) -> dict[str, Any]:
    """Return the arguments of ``add_argument`` that make argparse read a value of this type, or of it and None."""
    types = [entry for entry in get_args(annotation) or (annotation,) if entry is not NoneType]
    if types == [bool]:
        return {"action": argparse.BooleanOptionalAction}
    if choices is not None:
        return {"choices": choices}
    if types == [int]:
        return {"type": int, "metavar": "N"}
    if types == [float]:
        return {"type": _finite_number, "metavar": "X"}
    if types == [str]:
        return {"metavar": "TEXT"}
    return {"type": _json_or_text, "metavar": "JSON"}


def _finite_number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError
    return number


_finite_number.__name__ = "number"  # argparse puts it into its message: invalid number value


def _json_or_text(text: str) -> Any:
    """Read JSON, such as ``true`` or ``[[5, 6]]``; return other text, such as ``never``, unchanged."""
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
    """A parser that raises InputError with one line, and suggests the flag that was probably meant."""

    def parse_args(self, args: Any = None, namespace: Any = None) -> argparse.Namespace:
        """Parse as argparse does, but quote unknown arguments in the message: they may be empty."""
        values, unknown = self.parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {shlex.join(unknown)}")
        return values

    def error(self, message: str) -> NoReturn:
        """Raise InputError instead of printing the usage and exiting."""
        raise InputError(f"{message}; {self._suggestion(message)}--help lists all arguments")

    def _suggestion(self, message: str) -> str:
        unknown = message.removeprefix("unrecognized arguments: ").split("=")[0].partition(" ")[0]
        known = difflib.get_close_matches(unknown, self._option_string_actions, n=1) if unknown[:2] == "--" else []
        return f"did you mean {known[0]}? " if known else ""
