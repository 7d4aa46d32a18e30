"""Makes an argparse command line of a dataclass of options, and the dataclass of a command line."""

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

from .options import Arguments, ArgumentsType, from_values, options_of

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


def parse_arguments(arguments_class: type[ArgumentsType], description: str, argv: Sequence[str]) -> ArgumentsType:
    """Read a command line. Raises InputError for a flag or value that cannot be; --help prints and exits."""
    values = vars(build_parser(arguments_class, description).parse_args(argv))
    for argument in options_of(arguments_class):
        settings_class = argument.metadata.get("settings")
        if settings_class is not None:
            names = [setting.name for setting in fields(settings_class) if setting.name in values]
            values[argument.name] = {name: values.pop(name) for name in names}
    for argument in options_of(arguments_class):
        check, value = argument.metadata.get("check"), values.get(argument.name)
        problem = check(value) if check is not None and value is not None else None
        if problem is not None:
            raise InputError(f"--{argument.name} {value}: {problem}")
    arguments = from_values(arguments_class, values)
    arguments.check()
    return arguments


def build_parser(arguments_class: type[Arguments], description: str) -> argparse.ArgumentParser:
    """A parser of every ``option`` of a dataclass. Flags not given are left out: the class has the defaults."""
    options = sorted(options_of(arguments_class), key=lambda option: not option.metadata.get("positional"))
    positionals = [option.name.upper() for option in options if option.metadata.get("positional")]
    parser = _OneLineParser(
        usage=" ".join(["%(prog)s", *positionals, "[--flag VALUE ...]"]),
        description=description,
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
        formatter_class=_help_formatter,
    )
    headings = dict.fromkeys([*_HEADINGS, *(option.metadata["heading"] for option in options)])
    used = {option.metadata["heading"] for option in options}
    groups = {name: parser.add_argument_group(_HEADINGS.get(name, name)) for name in headings if name in used}
    taken: set[str] = set()
    for argument in options:
        described = argument.metadata
        group = groups[described["heading"]]
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
