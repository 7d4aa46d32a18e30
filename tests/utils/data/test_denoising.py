"""The noise of pre-training, by the paper's own figures."""

import numpy as np
import pytest

from bart.tokenization.tokenization_bart import BartTokenizer
from utils.data.denoising import Noise, NoiseSettings, draw_span_lengths, permute_sentences, replace_spans


def texts(tokenizer: BartTokenizer, lengths: list[int]) -> list[np.ndarray]:
    """Draw texts <s> ... </s> of ordinary tokens."""
    random = np.random.default_rng(0)
    bodies = [random.integers(4, len(tokenizer) - 1, length).astype(np.uint16) for length in lengths]
    return [np.concatenate([[0], body, [2]]).astype(np.uint16) for body in bodies]


def test_share_of_masked_tokens(tokenizer: BartTokenizer) -> None:
    """On average three tokens in ten are replaced, in short texts, too."""
    noise = Noise(tokenizer, NoiseSettings(permute_sentences=False, mask_random=0.0), seed=1)
    for length in (3, 11, 100, 700):
        originals = texts(tokenizer, [length] * (40_000 // length))
        corrupted = [noise.corrupt(tokens, 0, index)[1:-1] for index, tokens in enumerate(originals)]
        kept = [(tokens != tokenizer.mask_token_id).sum() for tokens in corrupted]
        assert abs(1 - np.mean(kept) / length - 0.3) < 0.005, length


def test_span_lengths_follow_the_poisson_law() -> None:
    """The chi-squared statistic of 9 classes is small, leaving out the last span, which is cut to fit the total."""
    random = np.random.default_rng(2)
    drawn = [draw_span_lengths(400, 3.5, random) for _ in range(200)]
    assert all(lengths.sum() == 400 for lengths in drawn)
    lengths = np.concatenate([lengths[:-1] for lengths in drawn])
    law = np.array([np.exp(-3.5) * 3.5**k / np.prod(np.arange(1, k + 1, dtype=float)) for k in range(8)])
    expected = np.append(law, 1 - law.sum()) * len(lengths)
    counted = np.bincount(np.minimum(lengths, 8), minlength=9)
    assert len(lengths) > 20_000 and counted[0] > 0
    assert ((counted - expected) ** 2 / expected).sum() < 26.1  # exceeded once in a thousand times


def test_one_mask_for_a_span() -> None:
    """A span of 0 tokens inserts a mask; tokens outside the spans stay in order."""
    text = np.arange(100, 150)
    lengths = np.array([3, 0, 5, 1, 0])
    seen = set()
    for seed in range(300):
        replaced = replace_spans(text, lengths, np.array([7, 7, 7, 7, 7]), np.random.default_rng(seed))
        assert (replaced == 7).sum() == 5 and len(replaced) == 50 - 9 + 5
        rest = replaced[replaced != 7]
        assert (np.diff(rest) > 0).all() and np.isin(rest, text).all()
        seen.add(int(np.flatnonzero(replaced == 7)[0]))
    assert {0, 1, 2, 3} <= seen  # a span can stand anywhere


def test_every_place_is_as_likely() -> None:
    """A span of 2 tokens among 5 has 4 possible places."""
    random = np.random.default_rng(3)
    starts = [
        int(np.flatnonzero(replace_spans(np.arange(5), np.array([2]), np.array([9]), random) == 9)[0])
        for _ in range(8000)
    ]
    counted = np.bincount(starts, minlength=4)
    assert len(counted) == 4 and (abs(counted - 2000) < 150).all()


def test_share_of_random_replacements(tokenizer: BartTokenizer) -> None:
    """A tenth of the masks become ordinary tokens."""
    originals = texts(tokenizer, [200] * 300)
    masks = {}
    for share in (0.0, 0.1):
        noise = Noise(tokenizer, NoiseSettings(permute_sentences=False, mask_random=share), seed=1)
        corrupted = np.concatenate([noise.corrupt(tokens, 0, index) for index, tokens in enumerate(originals)])
        masks[share] = int((corrupted == tokenizer.mask_token_id).sum())
        assert not np.isin(corrupted, [1, 3]).any()  # neither <pad> nor <unk>
    assert abs(masks[0.1] / masks[0.0] - 0.9) < 0.01


def test_sentences_are_shuffled_in_one_piece() -> None:
    """No token is lost, the tokens of a sentence stay in order, and every order of the sentences occurs."""
    text = np.array([11, 12, 13, 21, 22, 31, 32, 33, 34])
    is_end = np.array([0, 0, 1, 0, 1, 0, 0, 0, 0], dtype=bool)  # the last sentence has no end
    sentences = {(11, 12, 13), (21, 22), (31, 32, 33, 34)}
    orders = set()
    for seed in range(100):
        permuted = permute_sentences(text, is_end, np.random.default_rng(seed)).tolist()
        order = tuple(sorted(sentences, key=lambda sentence: permuted.index(sentence[0])))
        assert permuted == [token for sentence in order for token in sentence]
        orders.add(order)
    assert len(orders) == 6
    assert permute_sentences(text[:0], is_end[:0], np.random.default_rng(0)).size == 0


def test_sentences_end_at_full_stops(tokenizer: BartTokenizer) -> None:
    noise = Noise(tokenizer, NoiseSettings(mask_ratio=0.0), seed=1)
    sentences = [" An argument is given.", " It is a string!", " What does it do?", " No end"]
    tokens = np.array(tokenizer("".join(sentences))["input_ids"], dtype=np.uint16)
    permuted = {tokenizer.decode(noise.corrupt(tokens, epoch, 0), skip_special_tokens=True) for epoch in range(200)}
    assert len(permuted) == 24
    assert all(all(sentence in text for sentence in sentences) for text in permuted)


def test_seed_epoch_and_index_decide(tokenizer: BartTokenizer) -> None:
    """Neither earlier calls nor numpy's global state make a difference."""
    tokens = texts(tokenizer, [60])[0]

    def corrupt(seed: int, epoch: int, index: int) -> list[int]:
        return Noise(tokenizer, NoiseSettings(), seed).corrupt(tokens, epoch, index).tolist()

    expected = corrupt(1, 2, 3)
    np.random.seed(5)
    noise = Noise(tokenizer, NoiseSettings(), 1)
    noise.corrupt(tokens, 0, 0)
    assert noise.corrupt(tokens, 2, 3).tolist() == expected
    assert expected not in (corrupt(2, 2, 3), corrupt(1, 3, 3), corrupt(1, 2, 4))
    assert expected[0] == 0 and expected[-1] == 2 and len(expected) < len(tokens)


@pytest.mark.parametrize("length", [0, 1, 2, 3])
def test_tiny_texts(tokenizer: BartTokenizer, length: int) -> None:
    noise = Noise(tokenizer, NoiseSettings(), seed=1)
    tokens = texts(tokenizer, [length])[0]
    for epoch in range(200):
        corrupted = noise.corrupt(tokens, epoch, 0)
        assert corrupted.dtype == tokens.dtype and corrupted[0] == 0 and corrupted[-1] == 2
