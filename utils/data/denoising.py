"""Corrupt texts as BART learns to restore them (Lewis et al. 2019, https://arxiv.org/abs/1910.13461, section 2.2).

Sentences are shuffled, and each of some spans of tokens is replaced by one <mask>. Only the seed, the epoch and the
example's index decide how, so the number of workers and a resume make no difference.
"""

from dataclasses import dataclass

import numpy as np
from transformers import PreTrainedTokenizerBase

_SENTENCE_ENDS = (".", "!", "?", '."', ".)", ".'")


@dataclass(frozen=True)
class NoiseSettings:
    """Says how much is corrupted. The defaults are fairseq's; the paper's spans have 3 tokens on average."""

    mask_ratio: float = 0.3  # share of the tokens that masks replace
    poisson_lambda: float = 3.5  # mean number of tokens in a span
    mask_random: float = 0.1  # share of the masks that a random token replaces
    permute_sentences: bool = True


class Noise:
    """Corrupts texts that are given as token ids."""

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
        """Corrupt one text.

        Args:
            tokens: <s> text </s>, (L,) of any integer type.
            epoch: From 0.
            index: Number of the example; another one is corrupted in another way.

        Returns:
            <s> corrupted text </s>, of the same type.
        """
        random = np.random.default_rng([self.seed, epoch, index])
        text = tokens[1:-1]
        if self.settings.permute_sentences:
            text = permute_sentences(text, self._ends_sentence[text], random)
        text = self._infill(text, random)
        return np.concatenate([tokens[:1], text, tokens[-1:]])

    def _infill(self, text: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Replace spans of a text (n,) by masks, some of them by random tokens."""
        expected = self.settings.mask_ratio * len(text)
        masked = int(expected) + (random.random() < expected % 1)  # so that the mean is exact for short texts, too
        lengths = draw_span_lengths(masked, self.settings.poisson_lambda, random)
        replacements = np.full(len(lengths), self.mask_token_id, dtype=text.dtype)
        is_random = random.random(len(lengths)) < self.settings.mask_random
        replacements[is_random] = random.choice(self._ordinary, int(is_random.sum()))
        return replace_spans(text, lengths, replacements, random)


def permute_sentences(text: np.ndarray, is_end: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Shuffle the sentences of a text.

    Args:
        text: (n,) token ids.
        is_end: (n,) bool, marks the last token of each sentence. Tokens after the last mark count as a sentence.
        random: Draws the order.
    """
    sentence = np.cumsum(is_end) - is_end  # (n,) which sentence each token belongs to
    order = random.permutation(int(is_end.sum()) + 1)
    return text[np.argsort(order[sentence], kind="stable")]


def draw_span_lengths(total: int, mean: float, random: np.random.Generator) -> np.ndarray:
    """Draw span lengths from a Poisson distribution until they add up to ``total``; the last one is cut to fit.

    A length may be 0: such a span replaces nothing, so its mask is inserted.
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
    """Replace a span of ``lengths[i]`` tokens of a text (n,) by ``replacements[i]``, for every i, at random places.

    Every arrangement of the spans without overlap is equally likely.
    """
    # The result is a row of items, each a span or a token that stays. Draw which items are the spans.
    items = len(text) - int(lengths.sum()) + len(lengths)
    is_span = np.zeros(items, dtype=bool)
    is_span[random.choice(items, len(lengths), replace=False)] = True

    # Find the place in the text that each item begins at.
    widths = np.ones(items, dtype=np.int64)
    widths[is_span] = lengths
    starts = np.cumsum(widths) - widths

    replaced = np.empty(items, dtype=text.dtype)
    replaced[is_span] = replacements
    replaced[~is_span] = text[starts[~is_span]]
    return replaced
