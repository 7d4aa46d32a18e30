"""Score summaries by ROUGE (Lin 2004, https://aclanthology.org/W04-1013): Google's rouge-score, Porter stemmer.

The words are rouge-score's own, which are ASCII, or those of unicode_words.py, for any script.
"""

import logging
import math
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib import metadata
from typing import Literal, cast

import numpy as np
import nupunkt
from rouge_score.rouge_scorer import RougeScorer

from bart.errors import InputError

from ..runtime.process_pool import map_in_processes
from .unicode_words import RougeTokenizer, UnicodeTokenizer

ROUGE_TYPES = ("rouge1", "rouge2", "rougeL", "rougeLsum")
Splitter = Literal["period", "nupunkt", "newline"]

_EXAMPLES_PER_TASK = 200  # that a process scores at a time: some tenths of a second of work
_RESAMPLES = 1000
_LINES_LOOKED_AT = 1000  # to see which script the language uses

_logger = logging.getLogger(__name__)


def rouge_scores(
    predictions: Sequence[str],
    references: Sequence[str],
    splitter: Splitter = "period",
    processes: int = 1,
    tokenizer: RougeTokenizer = "ascii",
) -> dict[str, float]:
    """Return the mean F-measures times 100: rouge1, rouge2, rougeL and rougeLsum.

    The arguments are those of ``example_scores``.
    """
    return mean_scores(example_scores(predictions, references, splitter, processes, tokenizer))


def mean_scores(scores: np.ndarray) -> dict[str, float]:
    """Return the means of the scores (N, 4) over all examples, times 100, by name."""
    # fsum rounds once, so the order of the examples does not matter.
    return {name: 100 * math.fsum(column) / len(scores) for name, column in zip(ROUGE_TYPES, scores.T, strict=True)}


def count_zeros(scores: np.ndarray) -> dict[str, int]:
    """Count the examples (N, 4) that score 0, by name: of rouge1, those that share no word with their reference."""
    return dict(zip(ROUGE_TYPES, (scores == 0).sum(0).tolist(), strict=True))


def bootstrap_intervals(scores: np.ndarray, seed: int = 0) -> dict[str, list[float]]:
    """Return 95% intervals of ``mean_scores`` by the percentile bootstrap (Efron 1979): [low, high] by name.

    N of the N examples (N, 4) are drawn with replacement, 1,000 times.
    """
    return resampled_intervals(scores, ROUGE_TYPES, seed)


def resampled_intervals(scores: np.ndarray, names: Sequence[str], seed: int = 0) -> dict[str, list[float]]:
    """Return the same of any k scores (N, k) with these names."""
    low, high = np.percentile(resampled_means(scores, _RESAMPLES, seed), [2.5, 97.5], axis=0)
    return {name: [float(low[index]), float(high[index])] for index, name in enumerate(names)}


def resampled_means(scores: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Draw N of the N examples (N, 4) with replacement, many times. Returns the means times 100: (resamples, 4)."""
    random = np.random.default_rng(seed)
    counts = (random.multinomial(len(scores), np.full(len(scores), 1 / len(scores))) for _ in range(resamples))
    return np.array([100 * (count @ scores) / len(scores) for count in counts])


def example_scores(
    predictions: Sequence[str],
    references: Sequence[str],
    splitter: Splitter = "period",
    processes: int = 1,
    tokenizer: RougeTokenizer = "ascii",
) -> np.ndarray:
    """Score ``predictions[i]`` against ``references[i]``.

    Args:
        predictions: N texts.
        references: N texts.
        splitter: splits texts into sentences, which rougeLsum compares: ``period`` is the reference recipe's rule,
            ``nupunkt`` a trained splitter, ``newline`` takes every line as a sentence.
        processes: how many to use; the scores do not depend on it. They are spawned: a script that asks for more than
            one needs ``if __name__ == "__main__":``.
        tokenizer: splits texts into the words that are compared: ``ascii`` is rouge-score's own, which drops all other
            letters; ``unicode`` splits texts of any script, and those in ASCII as rouge-score does.

    Returns:
        F-measures from 0 to 1: (N, 4), in the order of ROUGE_TYPES.

    Raises:
        InputError: there are no texts, or not equally many predictions and references.
    """
    if len(predictions) != len(references):
        raise InputError(
            f"{len(predictions)} predictions for {len(references)} references; line i of one must belong to "
            "line i of the other"
        )
    if not references:
        raise InputError("there are no references; give at least one example")
    if tokenizer == "ascii" and _is_mostly_not_ascii(references[:_LINES_LOOKED_AT]):
        _warn_of_other_scripts()

    # Score portions, in this process or in several.
    portions = [slice(start, start + _EXAMPLES_PER_TASK) for start in range(0, len(references), _EXAMPLES_PER_TASK)]
    tasks = [(predictions[portion], references[portion], splitter, tokenizer) for portion in portions]
    if processes > 1 and len(tasks) > 1:
        parts = map_in_processes(_score_task, tasks, processes)
    else:
        parts = list(map(_score_task, tasks))
    return np.array([score for part in parts for score in part])


def scorer_description(splitter: Splitter = "period", tokenizer: RougeTokenizer = "ascii") -> dict[str, str]:
    """Describe how the scores are computed, for reports: ROUGE values mean nothing without it.

    A tokenizer is named if it is not rouge-score's own.
    """
    of_words = {} if tokenizer == "ascii" else {"tokenizer": f"unicode (UAX 29, regex {metadata.version('regex')})"}
    return {
        "scorer": f"rouge-score {metadata.version('rouge-score')}",
        "stemmer": f"Porter (nltk {metadata.version('nltk')})",
        **of_words,
        "splitter": f"nupunkt {metadata.version('nupunkt')}" if splitter == "nupunkt" else splitter,
        "aggregation": "mean F-measure",
    }


def _score_task(task: tuple[Sequence[str], Sequence[str], Splitter, RougeTokenizer]) -> list[tuple[float, ...]]:
    """Return the F-measures of each example, in the order of ROUGE_TYPES."""
    predictions, references, splitter, tokenizer = task
    own_words = UnicodeTokenizer() if tokenizer == "unicode" else None
    scorer = RougeScorer(list(ROUGE_TYPES), use_stemmer=True, tokenizer=own_words)
    split_prediction, split_reference = _SPLITTERS[splitter]
    results = (
        scorer.score(split_reference(reference), split_prediction(prediction))
        for prediction, reference in zip(predictions, references, strict=True)
    )
    return [tuple(result[rouge_type].fmeasure for rouge_type in ROUGE_TYPES) for result in results]


# A splitter returns one sentence per line, as rouge-score's rougeLsum expects them.


def _split_prediction_at_periods(text: str) -> str:
    return " . \n".join(re.split(r" \. |\. ", text))


def _split_reference_at_periods(text: str) -> str:
    return " . \n".join(text.split(". "))


def _split_by_nupunkt(text: str) -> str:
    return "\n".join(map(str, nupunkt.sent_tokenize(text)))


def _keep_lines(text: str) -> str:
    return text


# A splitter for predictions and one for references: the reference recipe's rule treats them differently.
_SPLITTERS: dict[Splitter, tuple[Callable[[str], str], Callable[[str], str]]] = {
    "period": (_split_prediction_at_periods, _split_reference_at_periods),
    "nupunkt": (_split_by_nupunkt, _split_by_nupunkt),
    "newline": (_keep_lines, _keep_lines),
}


def splitter_of(scorer: Mapping[str, str]) -> Splitter:
    """Return the splitter that a description names."""
    return cast(Splitter, scorer["splitter"].split()[0])  # without its version


def tokenizer_of(scorer: Mapping[str, str]) -> RougeTokenizer:
    """Return the tokenizer that a description names."""
    return cast(RougeTokenizer, scorer.get("tokenizer", "ascii").split()[0])


def _is_mostly_not_ascii(texts: Sequence[str]) -> bool:
    letters = [character for text in texts for character in text if character.isalpha()]
    return 2 * sum(character.isascii() for character in letters) < len(letters)


@cache
def _warn_of_other_scripts() -> None:
    """Warn once per process."""
    _logger.warning(
        "most letters of the references are not ASCII; rouge-score drops those, so these ROUGE values mean little: "
        "give --rouge_tokenizer unicode"
    )
