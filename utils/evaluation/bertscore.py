"""BERTScore (Zhang et al. 2020, https://arxiv.org/abs/1904.09675): likeness of texts by the vectors of their tokens.

Each token has the vector that a BERT gives it within its text. Precision is the mean over the summary's tokens of the
highest cosine with a token of the reference (0 if all are negative), recall the same the other way round, and F1 their
harmonic mean. [CLS] and [SEP] do not count, tokens weigh the same (no idf), and no baseline rescales the values.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import metadata
from typing import Any

import numpy as np
import torch

from bart.errors import InputError
from bart.hub import find_file

from ..cli.shared_args import BertScoreSettings
from ..data.tokens.encode import portions
from .rouge import resampled_intervals

BERTSCORE_NAMES = ("precision", "recall", "f1")

# torchmetrics 1.9 sorts texts by length, and takes the same order again for the way back: so it compares summaries with
# wrong references (its issue 2728). Of two texts, any order taken twice is the first one.
_TEXTS_AT_ONCE = 2
_AFTER_PADDING = {"roberta", "xlm-roberta", "camembert", "mpnet", "data2vec-text"}  # positions follow pad_token_id


def check_bertscore(settings: BertScoreSettings) -> None:
    """Raise InputError if the model of --bertscore is not there; its weights are not read."""
    if settings.bertscore is None:
        return
    try:
        is_there = find_file(settings.bertscore, "config.json") is not None
    except InputError as error:
        raise InputError(f"--bertscore {error}") from error
    if not is_there:
        raise InputError(f"--bertscore {settings.bertscore}: has no config.json; give a BERT in transformers' form")


def bertscore_text(report: Mapping[str, Any]) -> str | None:
    """Describe the entry of a report for people; None if it has none."""
    if "bertscore" not in report:
        return None
    entry = report["bertscore"]
    scores = "  ".join(f"{name} {entry[name]:.2f}" for name in BERTSCORE_NAMES)
    cut = f"; {entry['texts_cut']:,} texts are longer than it can read, and were cut" if entry["texts_cut"] else ""
    return f"BERTScore ({entry['model']}, layer {entry['layer']}): {scores}{cut}"


class BertScorer:
    """A BERT that compares texts."""

    def __init__(self, settings: BertScoreSettings, device: torch.device) -> None:
        """Load the model, and try it on the CPU: the device's memory is for the search, until scores are asked for.

        Raises InputError if the model cannot be read, or is of another kind.
        """
        assert settings.bertscore is not None
        self._name, self._layer, self._device = settings.bertscore, settings.bertscore_layer, torch.device("cpu")
        self._texts_cut = 0
        try:
            self._load()
            self.scores(["one"], ["two words"])
        except InputError:
            raise
        except Exception as error:  # files that others wrote fail in many ways
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise InputError(
                f"--bertscore {self._name}: cannot be used ({reason}); give a BERT with its tokenizer in transformers'"
                " form"
            ) from error
        self._device = device

    def _load(self) -> None:
        # These imports take seconds, and only this score needs them.
        from transformers import AutoModel, AutoTokenizer

        with _quiet_transformers():
            self._tokenizer = AutoTokenizer.from_pretrained(self._name, trust_remote_code=False)
            self._model, loading = AutoModel.from_pretrained(
                self._name, trust_remote_code=False, dtype=torch.float32, output_loading_info=True
            )
        config = self._model.config
        if config.is_encoder_decoder:
            raise ValueError("it has a decoder")
        missing = [name for name in loading["missing_keys"] if not name.startswith("pooler.")]  # which is not used
        if missing:
            raise ValueError(f"its weights lack {min(missing)}")
        layers = config.num_hidden_layers
        if self._layer is not None and self._layer > layers:
            raise InputError(f"--bertscore_layer {self._layer}: the model has {layers} layers; give {layers} or less")
        self._layer = self._layer or layers
        positions = getattr(config, "max_position_embeddings", self._tokenizer.model_max_length)
        if config.model_type in _AFTER_PADDING:
            positions -= config.pad_token_id + 1
        self._longest = min(positions, self._tokenizer.model_max_length)

    def scores(self, predictions: Sequence[str], references: Sequence[str]) -> np.ndarray:
        """Compare ``predictions[i]`` with ``references[i]``.

        Texts with more tokens than the model has positions are cut off. A text without tokens scores 0.

        Returns:
            From 0 to 1: (N, 3) float64, in the order of BERTSCORE_NAMES.
        """
        self._texts_cut = 0
        empty, of_predictions, of_references = map(self._tokenize, ([""], predictions, references))
        pairs = zip(of_predictions, of_references, strict=True)
        rows = [row for row, pair in enumerate(pairs) if min(map(len, pair)) > len(empty[0])]
        found = np.zeros((len(predictions), len(BERTSCORE_NAMES)))
        for start in range(0, len(rows), _TEXTS_AT_ONCE):
            some = rows[start : start + _TEXTS_AT_ONCE]
            found[some] = self._compare([of_predictions[row] for row in some], [of_references[row] for row in some])
        return found

    def report_entry(self, scores: np.ndarray) -> dict[str, Any]:
        """Return what a report says of the last call's scores (N, 3): means times 100, and how they were computed."""
        means = {name: 100 * float(mean) for name, mean in zip(BERTSCORE_NAMES, scores.mean(0), strict=True)}
        return {
            **means,
            "intervals_95": resampled_intervals(scores, BERTSCORE_NAMES),
            "model": self._name,
            "revision": getattr(self._model.config, "_commit_hash", None),  # of the hub
            "layer": self._layer,
            "texts_cut": self._texts_cut,
            "scorer": f"torchmetrics {metadata.version('torchmetrics')}",
        }

    def _tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the tokens of each text, special ones included; cut those that are too long, and count them."""
        tokens: list[list[int]] = []
        for part in portions(texts, len):
            tokens += self._tokenizer(part, verbose=False)["input_ids"]
        for row, text in enumerate(texts):
            if len(tokens[row]) > self._longest:
                tokens[row] = self._tokenizer(text, truncation=True, max_length=self._longest)["input_ids"]
                self._texts_cut += 1
        return tokens

    def _compare(self, predictions: list[list[int]], references: list[list[int]]) -> np.ndarray:
        """Return the scores (N, 3) of a few texts, given as tokens."""
        from torchmetrics.functional.text import bert_score

        def padded(tokens: list[list[int]]) -> dict[str, Any]:
            found = self._tokenizer.pad({"input_ids": tokens}, return_tensors="pt")
            return {name: found[name] for name in ("input_ids", "attention_mask")}

        scores = bert_score(
            padded(predictions),
            padded(references),
            model=self._model,
            num_layers=self._layer,
            device=self._device,
        )
        columns = [np.atleast_1d(torch.as_tensor(scores[name]).double().numpy()) for name in BERTSCORE_NAMES]
        return np.nan_to_num(np.stack(columns, axis=1))  # F1 of 0 and 0


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Show neither a progress bar nor warnings, such as of weights that this use does not need."""
    from transformers.utils import logging

    level, has_bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if has_bar:
            logging.enable_progress_bar()
