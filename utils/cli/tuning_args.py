"""The command line of tune_search.py, in groups."""

import math
from dataclasses import dataclass, field
from typing import Any

from .evaluation_args import BatchSettings, DeviceSettings, EvaluatedModel, EvaluationArguments
from .options import Check, all_or_at_least, at_least, between, from_values, option, options_of, to_values
from .shared_args import DATA_DIR_HELP, LARGEST_SEED, TextSettings

METRICS = ("rouge1", "rouge2", "rougeL", "rougeLsum", "mean")


# The flags of the grid, and the type of their numbers.
_GRID_FLAGS = {"num_beams": int, "length_penalty": float, "min_length": int, "no_repeat_ngram_size": int}


def whole_numbers_from(minimum: int) -> Check:
    """Return a check that accepts whole numbers from ``minimum`` up, separated by commas."""

    def check(text: str) -> str | None:
        valid = all(entry.strip().isdecimal() and int(entry) >= minimum for entry in text.split(","))
        return None if valid else f"give whole numbers from {minimum} up, separated by commas"

    return check


def some_numbers(text: str) -> str | None:
    """Check that a text is numbers separated by commas. This function is itself a ``Check``."""
    try:
        valid = all(math.isfinite(float(entry)) for entry in text.split(","))
    except ValueError:
        valid = False
    return None if valid else "give numbers separated by commas"


@dataclass(frozen=True)
class TunedTexts(TextSettings):
    """The validation split."""

    data_dir: str = option("", "data", DATA_DIR_HELP, positional=True)
    n_obs: int = option(-1, "data", "number of validation examples to use, -1 for all", check=all_or_at_least(1))
    prefix: str | None = option(None, "data", "text to put before every source (default: the configuration's)")


@dataclass(frozen=True)
class GridSettings:
    """The settings to try, and their comparison."""

    num_beams: str | None = option(
        None,
        "search",
        "numbers of beams to try, separated by commas (default: 1,2,4,8 and the configuration's)",
        check=whole_numbers_from(1),
    )
    length_penalty: str | None = option(
        None,
        "search",
        "length penalties to try; if the first one is negative, with an equals sign, as in --length_penalty=-1,2"
        " (default: 0.6,1,2 and the configuration's)",
        check=some_numbers,
    )
    min_length: str | None = option(
        None,
        "search",
        "shortest outputs to try, in tokens (default: 0, the configuration's, and the 10th, 25th and 50th percentile of"
        " the validation targets' lengths)",
        check=whole_numbers_from(0),
    )
    no_repeat_ngram_size: str | None = option(
        None,
        "search",
        "lengths of n-grams that an output may contain only once; 0 is off (default: 0,3 and the configuration's)",
        check=whole_numbers_from(0),
    )
    budget: int = option(
        36, "search", "number of settings to draw if the grid has more of them", check=at_least(1)
    )
    smallest_subset: int = option(
        50, "search", "validation examples of the first comparison, at least", check=at_least(1)
    )
    seed: int = option(
        42, "search", "seed of the settings and subsets that are drawn", check=between(0, LARGEST_SEED)
    )
    metric: str = option(
        "mean", "scores", "score to raise; mean: geometric mean of rouge1, rouge2 and rougeL", choices=METRICS
    )
    write_best: bool = option(
        False, "output", "write the setting that scores best even if its gain may be chance"
    )

    def given_values(self) -> dict[str, list[Any]]:
        """Return the values to try of the settings whose flags were given."""
        texts = {name: getattr(self, name) for name in _GRID_FLAGS}
        return {
            name: [_GRID_FLAGS[name](entry) for entry in text.split(",")]
            for name, text in texts.items()
            if text is not None
        }


@dataclass(frozen=True)
class TuningArguments:
    """The command line of utils/commands/tune_search.py."""

    model: EvaluatedModel = field(default_factory=EvaluatedModel)
    texts: TunedTexts = field(default_factory=TunedTexts)
    batches: BatchSettings = field(default_factory=BatchSettings)
    grid: GridSettings = field(default_factory=GridSettings)
    precision: DeviceSettings = field(default_factory=DeviceSettings)
    save_path: str = option("", "output", "folder for the configuration, the report and the cache", positional=True)
    resume: bool = option(False, "output", "go on with the tuning in SAVE_PATH: what was scored is not done again")

    def as_evaluation(self) -> EvaluationArguments:
        """Return the command line that evaluates the validation split with the present settings."""
        names = {option.name for option in options_of(EvaluationArguments)}
        values: dict[str, Any] = {name: value for name, value in to_values(self).items() if name in names}
        return from_values(EvaluationArguments, {**values, "type_path": "val"})

    def check(self) -> None:
        """Raise InputError, naming the flags, if a combination is impossible."""
        self.precision.check()
