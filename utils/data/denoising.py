"""The noise that BART learns to remove in pre-training (Lewis et al. 2019, https://arxiv.org/abs/1910.13461, 2.2).

Sentences change places, and spans of tokens are replaced by one <mask> each. All of it is drawn from the seed, the
epoch and the example's number alone, so that any number of workers and any resume see the same.
"""

from dataclasses import dataclass

import numpy as np
from transformers import PreTrainedTokenizerBase

_SENTENCE_ENDS = (".", "!", "?", '."', ".)", ".'")


@dataclass(frozen=True)
class NoiseSettings:
    """How much noise. The defaults are those of fairseq's recipe; the paper's spans are of 3 tokens in the mean."""

    mask_ratio: float = 0.3  # of the tokens, replaced by masks
    poisson_lambda: float = 3.5  # tokens in a span, in the mean
    mask_random: float = 0.1  # of the masks, replaced by a random token
    permute_sentences: bool = True


class Noise:
    """Corrupts texts of one tokenizer."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, settings: NoiseSettings, seed: int) -> None:
        self.settings = settings
        self.seed = seed
        self.mask_token_id = tokenizer.mask_token_id
        vocabulary = tokenizer.get_vocab()
        self._ends_sentence = np.zeros(max(vocabulary.values()) + 1, dtype=bool)
        ends = [token_id for token, token_id in vocabulary.items() if token.endswith(_SENTENCE_ENDS)]
        self._ends_sentence[ends] = True
        self._ordinary = np.array(sorted(set(vocabulary.values()) - set(tokenizer.all_special_ids)))

    def corrupt(self, tokens: np.ndarray, epoch: int, index: int) -> np.ndarray:
        """<s> text </s> to <s> corrupted text </s>, in the same type of integers; ``index`` numbers the example."""
        random = np.random.default_rng([self.seed, epoch, index])
        text = tokens[1:-1]
        if self.settings.permute_sentences:
            text = permute_sentences(text, self._ends_sentence[text], random)
        text = self._infill(text, random)
        return np.concatenate([tokens[:1], text, tokens[-1:]])

    def _infill(self, text: np.ndarray, random: np.random.Generator) -> np.ndarray:
        expected = self.settings.mask_ratio * len(text)
        masked = int(expected) + (random.random() < expected % 1)  # exact in the mean, for short texts too
        lengths = draw_span_lengths(masked, self.settings.poisson_lambda, random)
        replacements = np.full(len(lengths), self.mask_token_id, dtype=text.dtype)
        is_random = random.random(len(lengths)) < self.settings.mask_random
        replacements[is_random] = random.choice(self._ordinary, int(is_random.sum()))
        return replace_spans(text, lengths, replacements, random)


def permute_sentences(text: np.ndarray, is_end: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Shuffle the sentences of a text (n,); ``is_end`` (n,) marks their last tokens; what is left too."""
    sentence = np.cumsum(is_end) - is_end  # the number of each token's
    order = random.permutation(int(is_end.sum()) + 1)
    return text[np.argsort(order[sentence], kind="stable")]


def draw_span_lengths(total: int, mean: float, random: np.random.Generator) -> np.ndarray:
    """Lengths by a Poisson law that add up to ``total``; the last one is cut where it would exceed it.

    Lengths of 0 occur: such a span replaces nothing, its mask is put in between.
    """
    if total == 0:
        return np.zeros(0, dtype=np.int64)
    drawn = random.poisson(mean, size=0)
    while drawn.sum() < total:
        drawn = np.concatenate([drawn, random.poisson(mean, size=int(total / mean) + 8)])
    ends = np.cumsum(drawn)
    last = int(np.searchsorted(ends, total))  # the first span that reaches the total
    lengths = drawn[: last + 1].copy()
    lengths[-1] -= ends[last] - total
    return lengths


def replace_spans(
    text: np.ndarray, lengths: np.ndarray, replacements: np.ndarray, random: np.random.Generator
) -> np.ndarray:
    """Put ``replacements[i]`` in the place of a span of ``lengths[i]`` tokens of a text (n,), at random places.

    Every arrangement of the spans without overlap is as likely as any other: the spans and the tokens that stay are
    items in a row, and which of the items are the spans is drawn.
    """
    items = len(text) - int(lengths.sum()) + len(lengths)
    is_span = np.zeros(items, dtype=bool)
    is_span[random.choice(items, len(lengths), replace=False)] = True
    widths = np.ones(items, dtype=np.int64)
    widths[is_span] = lengths
    starts = np.cumsum(widths) - widths  # where in the text each item begins
    replaced = np.empty(items, dtype=text.dtype)
    replaced[is_span] = replacements
    replaced[~is_span] = text[starts[~is_span]]
    return replaced
