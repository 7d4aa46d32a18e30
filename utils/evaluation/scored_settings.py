"""Scores search settings on parts of a split, each part once: a folder keeps what was generated, and how it scored."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from transformers import PreTrainedTokenizerBase

from bart.modeling.modeling_bart import BartForConditionalGeneration

from ..data.splits import Pairs
from .evaluate import EvaluationSettings, evaluate
from .journal import delete_journals
from .score_files import read_example_scores
from .search_grid import SearchSetting, setting_name


@dataclass
class ScoredSetting:
    """What a search setting has scored so far."""

    setting: SearchSetting
    portions: list[np.ndarray] = field(default_factory=list)  # (rows, 4), of one round after the other
    seconds: float = 0.0  # that generating took

    @property
    def scores(self) -> np.ndarray:
        """Return the F-measures of all examples so far: (N, 4), the same examples for settings of the same round."""
        return np.concatenate(self.portions)


class SettingScorer:
    """Scores settings on portions of the examples of a split, or finds that they were scored."""

    def __init__(
        self,
        model: BartForConditionalGeneration,
        tokenizer: PreTrainedTokenizerBase,
        pairs: Pairs,
        portions: Sequence[np.ndarray],
        settings: EvaluationSettings,
        folder: Path,
    ) -> None:
        """Take what ``evaluate`` takes.

        Args:
            model: in evaluation mode, on its device.
            tokenizer: the model's.
            pairs: the split, with targets.
            portions: the rows of each portion.
            settings: what all evaluations have in common.
            folder: of the cache. It gets a folder for each setting and portion, with the files of an evaluation, which
                tells by its key (weights, texts, settings ...) whether it was done.
        """
        assert pairs.targets is not None
        targets = pairs.targets
        self._model, self._tokenizer, self._settings, self._folder = model, tokenizer, settings, folder
        self._portions = [
            Pairs([pairs.sources[row] for row in rows], [targets[row] for row in rows]) for rows in portions
        ]

    def add_portion(self, scored: ScoredSetting, number: int) -> None:
        """Score a setting on the portion of that number, and add the result to it."""
        pairs, split = self._portions[number], self._settings.split
        folder = self._folder / setting_name(scored.setting) / f"portion_{number}"
        resume = self._settings.resume and folder.is_dir()
        folder.mkdir(parents=True, exist_ok=True)
        settings = replace(self._settings, search={**self._settings.search, **scored.setting}, resume=resume)
        result = evaluate(self._model, self._tokenizer, pairs, settings, folder, {})
        assert result is not None
        delete_journals(folder, split)
        # From the file, in which they are rounded: it is all the same whether they are new.
        scored.portions.append(read_example_scores(folder, split).scores)
        scored.seconds += len(pairs) / result.report["sequences_per_second"]
