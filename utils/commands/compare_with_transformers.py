"""Check that transformers writes the same summaries, token for token; scripts/verify_published.sh begins with it."""

import sys
from dataclasses import dataclass
from typing import Any

from ..cli.options import at_least, option
from ..cli.run import run_command
from ..cli.shared_args import ALLOW_NON_FINITE_HELP, output_limit

_DIFFERS = 1  # exit code


@dataclass(frozen=True)
class CompareArguments:
    model: str = option("", "model", "a Hugging Face folder or a hub id", positional=True)
    config: str = option("", "model", "JSON configuration: the search settings and the prefix", positional=True)
    data_dir: str = option("", "data", "folder with test.source, or a data set of the hub", positional=True)
    texts: int = option(20, "data", "how many texts to compare, from the start of the test split", check=at_least(1))
    max_source_length: int = option(1024, "data", "tokens to read of a text", check=at_least(2))
    eval_max_gen_length: int | None = option(
        None, "search", "longest summary, in tokens (default: the configuration's)", check=at_least(2)
    )
    eval_beams: int | None = option(None, "search", "beams (default: the configuration's)", check=at_least(1))
    allow_non_finite: bool = option(False, "model", ALLOW_NON_FINITE_HELP)
    device: str = option(
        "auto", "precision", "where to run; auto: a GPU if there is one", choices=("auto", "cpu", "cuda")
    )

    def check(self) -> None:
        """Nothing to check together."""


def compare(arguments: CompareArguments) -> None:
    """Print whether the tokens are the same; ends the program with code 1 if they are not.

    Raises InputError if there are no texts, no such model, or an impossible search.
    """
    # Torch and transformers take seconds to import. Up to here --help and a wrong flag are answered at once.
    from ..recipes.compare_with_transformers import compare_with_transformers

    limits: dict[str, Any] = {}
    if arguments.eval_max_gen_length is not None:
        limits |= output_limit(arguments.eval_max_gen_length)
    if arguments.eval_beams is not None:
        limits["num_beams"] = arguments.eval_beams
    same = compare_with_transformers(
        arguments.model,
        arguments.config,
        arguments.data_dir,
        count=arguments.texts,
        max_source_length=arguments.max_source_length,
        limits=limits,
        allow_non_finite=arguments.allow_non_finite,
        device=arguments.device,
    )
    if not same:
        sys.exit(_DIFFERS)


if __name__ == "__main__":
    sys.exit(run_command(CompareArguments, "Compare summaries with transformers', token for token.", compare))
