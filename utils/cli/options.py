"""Fields that describe themselves as flags, the limits of their values, and groups of them.

A dataclass of ``option`` fields is a command line. A field whose type is such a dataclass itself is a group: its
options are flags like all others, and functions take the group instead of the whole.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import Field, field, fields, is_dataclass
from typing import Any, Protocol, TypeVar

Check = Callable[[Any], str | None]  # returns what is wrong with a value, or None


class Arguments(Protocol):
    """A dataclass of ``option`` fields, and of groups of them."""

    __dataclass_fields__: dict[str, Field[Any]]

    def check(self) -> None:
        """Raise InputError if arguments that are possible one by one are impossible together."""


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
    """A dataclass field that is also a flag (or a positional argument) under a ``heading`` of --help.

    ``fixed`` marks what must stay when a training is resumed, because the steps already done depend on it.
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


def options_of(arguments_class: type) -> Iterator[Field[Any]]:
    """Yield every option of a command line, those of its groups in the place of the groups."""
    for entry in fields(arguments_class):
        if is_dataclass(entry.type):
            yield from options_of(entry.type)
        else:
            yield entry


def from_values(arguments_class: type[ArgumentsType], values: dict[str, Any]) -> ArgumentsType:
    """Build the arguments from the values of some options by name; the others have their defaults."""
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
