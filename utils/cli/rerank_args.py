"""Settings of re-ranking: choosing each summary among candidates."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

from bart.errors import InputError

from .options import above, at_least, check_values, option
from .shared_args import RougeSettings

RERANKINGS = ("none", "consensus")
UTILITIES = ("rouge1", "rouge2", "rougeL", "mean")
_FEWEST_CANDIDATES = 3  # of two, each is as near to the other


@dataclass(frozen=True)
class RerankSettings:
    """Whether and how summaries are chosen among candidates."""

    rerank: str = option(
        "none",
        "re-ranking",
        "consensus: of several candidates of each source, take the one that is nearest to all others",
        choices=RERANKINGS,
    )
    rerank_utility: str | Callable[[str, str], float] = option(  # noqa: RUF009 -- a field; in Python any callable
        "rouge1", "re-ranking", "nearness of two candidates, as ROUGE measures it", choices=UTILITIES
    )
    rerank_beams: int | None = option(
        None,
        "re-ranking",
        "candidates from the beam search, its best ones (default: as many as it has beams)",
        check=at_least(0),
    )
    rerank_samples: int = option(24, "re-ranking", "candidates that are drawn at random", check=at_least(0))
    rerank_temperature: float = option(
        0.7, "re-ranking", "of these draws: divisor of the log probabilities", check=above(0)
    )

    @classmethod
    def checked(cls, values: Mapping[str, Any]) -> Self:
        """Return settings that are given in Python, by name; None is the default.

        Raises InputError, naming the flag, as the parser does.
        """
        # Types and choices, which argparse checks for flags.
        given = {name: value for name, value in values.items() if value is not None}
        for entry in fields(cls):
            value, choices = given.get(entry.name), entry.metadata["choices"]
            if value is None or (entry.name == "rerank_utility" and callable(value)):
                continue
            if choices is not None:
                if value not in choices:
                    raise InputError(f"--{entry.name} {value}: give one of {', '.join(choices)}")
            elif not _is_number(value, whole=entry.type is not float):
                raise InputError(f"--{entry.name} {value}: give a number")
        check_values(cls, given)
        settings = cls(**given)
        settings.check()
        return settings

    @property
    def is_on(self) -> bool:
        """Whether summaries are chosen among candidates."""
        return self.rerank != "none"

    def beams_of(self, num_beams: int) -> int:
        """Return how many candidates come from a search with so many beams."""
        return num_beams if self.rerank_beams is None else self.rerank_beams

    def check(self) -> None:
        """Raise InputError if a setting of re-ranking is given without --rerank."""
        if self.is_on:
            return
        for name, default in vars(type(self)()).items():
            if getattr(self, name) != default:
                raise InputError(f"--{name} {getattr(self, name)}: has no effect without --rerank consensus")

    def check_search(self, num_beams: int, num_return_sequences: int, do_sample: bool) -> None:
        """Raise InputError if candidates cannot be found beside a search with these settings."""
        if do_sample:
            raise InputError("--rerank consensus: draws samples beside a search that draws none; leave out --do_sample")
        if num_return_sequences != 1:
            raise InputError(
                f"--num_return_sequences {num_return_sequences}: --rerank consensus chooses one summary; leave one out"
            )
        beams = self.beams_of(num_beams)
        if beams > num_beams:
            raise InputError(f"--rerank_beams {beams}: the search has {num_beams} beams; give --num_beams {beams} too")
        if beams + self.rerank_samples < _FEWEST_CANDIDATES:
            raise InputError(
                f"--rerank consensus: {beams} beams and {self.rerank_samples} samples are too few candidates; give "
                f"--num_beams or --rerank_samples so that there are {_FEWEST_CANDIDATES} or more"
            )


@dataclass(frozen=True)
class RerankAloneSettings(RerankSettings, RougeSettings):
    """The same, for programs that need ROUGE for nothing else."""


def _is_number(value: Any, whole: bool) -> bool:
    """Tell whether a value is a finite number and, if it must be, a whole one."""
    return isinstance(value, int if whole else int | float) and not isinstance(value, bool) and math.isfinite(value)
