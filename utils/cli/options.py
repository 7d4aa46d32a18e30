"""Dataclass fields that describe themselves as flags, checks of their values, and groups of such fields.

A dataclass of ``option`` fields is a command line. A field whose type is such a dataclass is a group: its options are
flags like all others, and a function takes the group that it needs instead of all arguments.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import Field, field, fields, is_dataclass
from typing import Any, Protocol, TypeVar

from bart.errors import InputError

Check = Callable[[Any], str | None]  # returns None for a value that is allowed, else a text that says what to give


class Arguments(Protocol):
    """A dataclass of ``option`` fields and groups."""

    __dataclass_fields__: dict[str, Field[Any]]

    def check(self) -> None:
        """Raise InputError, naming the flags, if a combination of values is impossible."""


ArgumentsType = TypeVar("ArgumentsType", bound=Arguments)


def option(
    default: Any,
    heading: str,
    help: str,
    *,
    choices: Sequence[str] = (),
    check: Check | None = None,
    aliases: Sequence[str] = (),
    positional: bool = False,
    fixed: bool = False,
) -> Any:
    """Return a dataclass field that is also a flag.

    Args:
        default: value of a flag that is not given.
        heading: heading of --help under which the flag is listed.
        help: text of --help.
        choices: all values that are allowed; empty if the type and ``check`` decide.
        check: condition that the value must meet.
        aliases: further names of the flag.
        positional: make it a positional argument instead of a flag.
        fixed: refuse another value when a training is resumed, because the steps already done depend on it.
    """
    return field(
        default=default,
        metadata={
            "heading": heading,
            "help": help,
            "choices": list(choices) or None,
            "check": check,
            "aliases": aliases,
            "positional": positional,
            "fixed": fixed,
        },
    )


def at_least(minimum: float) -> Check:
    """Return a check that accepts numbers from ``minimum`` up."""
    return lambda value: None if value >= minimum else f"give a number from {minimum} up"


def above(minimum: float) -> Check:
    """Return a check that accepts numbers above ``minimum``."""
    return lambda value: None if value > minimum else f"give a number above {minimum}"


def between(minimum: float, maximum: float) -> Check:
    """Return a check that accepts numbers from ``minimum`` to ``maximum``."""
    return lambda value: None if minimum <= value <= maximum else f"give a number from {minimum} to {maximum}"


def all_or_at_least(minimum: int) -> Check:
    """Return a check that accepts -1, which means all, and numbers from ``minimum`` up."""
    return lambda value: None if value == -1 or value >= minimum else f"give -1 or a number from {minimum} up"


def some_of(*choices: str) -> Check:
    """Return a check that accepts ``none``, or one or more different ``choices`` separated by commas."""
    known = ", ".join(choices)

    def check(value: str) -> str | None:
        names = value.split(",")
        valid = set(names) <= set(choices) and len(set(names)) == len(names)
        return None if valid or value == "none" else f"give none, or one or more of {known}, separated by commas"

    return check


def probability(value: float) -> str | None:
    """Check that a number is from 0 up and below 1. This function is itself a ``Check``."""
    return None if 0 <= value < 1 else "give a number from 0 up and below 1"


def options_of(arguments_class: type) -> Iterator[Field[Any]]:
    """Yield every option of a command line in order, with the options of a group in the group's place."""
    for entry in fields(arguments_class):
        if is_dataclass(entry.type):
            yield from options_of(entry.type)
        else:
            yield entry


def check_values(arguments_class: type, values: Mapping[str, Any]) -> None:
    """Raise InputError, naming the flag, if the value of an option, by name, does not meet the option's condition."""
    for entry in options_of(arguments_class):
        check, value = entry.metadata.get("check"), values.get(entry.name)
        problem = check(value) if check is not None and value is not None else None
        if problem is not None:
            raise InputError(f"--{entry.name} {value}: {problem}")


def from_values(arguments_class: type[ArgumentsType], values: dict[str, Any]) -> ArgumentsType:
    """Build arguments from the values of some options by name; the other options take their defaults."""
    given = {}
    for entry in fields(arguments_class):
        if is_dataclass(entry.type):
            given[entry.name] = from_values(entry.type, values)
        elif entry.name in values:
            given[entry.name] = values[entry.name]
    return arguments_class(**given)


def to_values(arguments: Any) -> dict[str, Any]:
    """Return the value of every option by name, as plain JSON types."""
    values: dict[str, Any] = {}
    for entry in fields(arguments):
        value = getattr(arguments, entry.name)
        values |= to_values(value) if is_dataclass(entry.type) else {entry.name: value}
    return values


def changed_flags(arguments: Any, leave_out: Collection[str] = ()) -> list[str]:
    """Return the words that give a dataclass of options, without groups, its values: of those that are not defaults."""
    words = []
    for entry in fields(arguments):
        value = getattr(arguments, entry.name)
        if value == entry.default or entry.name in leave_out:
            continue
        if isinstance(value, bool):
            words.append(f"--{entry.name}" if value else f"--no-{entry.name}")
        else:
            words += [f"--{entry.name}", str(value)]
    return words
