"""How summaries are scored, and what a report says of that: ROUGE, BERTScore if asked for, and traits of the texts."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Self, cast

import numpy as np
import torch

from bart.errors import InputError

from ..cli.evaluation_args import GenerationSettings
from ..cli.shared_args import BertScoreSettings
from ..cli.training_args import ValidationSettings
from ..data.splits import Pairs
from ..runtime.evaluation_group import EvaluationGroup
from ..runtime.processor import processor_cores
from .bertscore import BertScorer
from .degenerate_outputs import count_empty
from .names_and_numbers import Mention
from .rouge import Splitter, bootstrap_intervals, count_zeros, example_scores, mean_scores, scorer_description
from .summary_stats import summary_traits, words
from .unicode_words import RougeTokenizer, unicode_words


@dataclass(frozen=True)
class ScoringSettings:
    """The settings of the scores."""

    splitter: Splitter = "period"  # splits texts into sentences, for rougeLsum
    tokenizer: RougeTokenizer = "ascii"  # splits texts into words, for ROUGE
    bertscore: BertScoreSettings = field(default_factory=BertScoreSettings)

    @classmethod
    def of_flags(cls, flags: GenerationSettings | ValidationSettings) -> Self:
        """Return the settings that flags give."""
        return cls(
            cast(Splitter, flags.rouge_sentence_splitter),
            cast(RougeTokenizer, flags.rouge_tokenizer),
            BertScoreSettings(flags.bertscore, flags.bertscore_layer),
        )

    @property
    def key(self) -> dict[str, Any]:
        """What the scores depend on beside the texts: by it, an evaluation is known to be done."""
        return {
            "splitter": self.splitter,
            **({} if self.tokenizer == "ascii" else {"rouge_tokenizer": self.tokenizer}),
            **({} if self.bertscore.bertscore is None else vars(self.bertscore)),
        }


@dataclass(frozen=True)
class ScoredSummaries:
    """How good the summaries of a system are."""

    scores: np.ndarray | None  # F-measures of ROUGE (N, 4) of the examples; None if there are no targets
    quality: dict[str, Any]  # entries of the report
    mentions: list[list[Mention]]  # the names and numbers of each summary


def load_bert_scorer(
    settings: BertScoreSettings, device: torch.device, group: EvaluationGroup
) -> BertScorer | None:
    """Load the model of BERTScore, if there is one, on the first process. All processes call this together.

    Raises InputError in all of them if it cannot be used.
    """
    if settings.bertscore is None:
        return None
    scorer = problem = None
    if group.rank == 0:
        try:
            scorer = BertScorer(settings, device)
        except InputError as error:
            problem = str(error)
    problem = group.gather(problem)[0]
    if problem is not None:
        raise InputError(problem)
    return scorer


def score_summaries(
    systems: Sequence[Sequence[str]], pairs: Pairs, settings: ScoringSettings, bert_scorer: BertScorer | None
) -> list[ScoredSummaries]:
    """Score what each of several systems wrote, one summary of each source."""
    words_of = unicode_words if settings.tokenizer == "unicode" else words
    traits = summary_traits(pairs.sources, systems, pairs.targets, words_of)
    scored = []
    for summaries, measured in zip(systems, traits, strict=True):
        of_texts = {"empty_outputs": count_empty(summaries), "traits": measured.entry}
        scores, of_scores = _scores(summaries, pairs.targets, settings, bert_scorer)
        scored.append(ScoredSummaries(scores, {**of_scores, **of_texts}, measured.mentions))
    return scored


def _scores(
    summaries: Sequence[str],
    targets: Sequence[str] | None,
    settings: ScoringSettings,
    bert_scorer: BertScorer | None,
) -> tuple[np.ndarray | None, dict[str, Any]]:
    """Return the F-measures of ROUGE (N, 4), and what the report says of these and of BERTScore."""
    if targets is None:
        return None, {}
    scores = example_scores(summaries, targets, settings.splitter, processor_cores(), settings.tokenizer)
    by_bert = None if bert_scorer is None else bert_scorer.report_entry(bert_scorer.scores(summaries, targets))
    return scores, {
        **mean_scores(scores),
        "intervals_95": bootstrap_intervals(scores),
        "scorer": scorer_description(settings.splitter, settings.tokenizer),
        "zero_scores": count_zeros(scores),
        "empty_references": count_empty(targets),
        **({} if by_bert is None else {"bertscore": by_bert}),
    }
