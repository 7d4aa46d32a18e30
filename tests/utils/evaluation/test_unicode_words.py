"""Words of any script: those of rouge-score in ASCII, and scores of other scripts that were computed by hand."""

import random
import unicodedata

import numpy as np
import pytest
from nltk.stem.porter import PorterStemmer
from rouge_score.tokenize import tokenize

from utils.evaluation.rouge import example_scores, rouge_scores
from utils.evaluation.rouge_pairs import rouge_of_pairs
from utils.evaluation.unicode_words import stemmed_unicode_words, unicode_words

ASCII = [chr(code) for code in range(128)]
LIKELY = [*"aabcdeesst", "ing", "ED", "ly", "'s", ".", ". ", ",", "_", "-", " ", "\n", "1", "20", "000"]


def random_ascii(generator: random.Random, parts: int) -> str:
    return "".join(generator.choice(ASCII if generator.random() < 0.3 else LIKELY) for _ in range(parts))


def test_words_of_ascii_are_those_of_rouge_score() -> None:
    generator, stemmer = random.Random(0), PorterStemmer()
    for length in (1, 2, 3, 8, 40):
        for _ in range(400):
            text = random_ascii(generator, length)
            assert stemmed_unicode_words(text) == tokenize(text, stemmer), repr(text)
            # Beside another script, too.
            assert stemmed_unicode_words(f"मैं {text} 中") == ["मैं", *tokenize(text, stemmer), "中"], repr(text)


@pytest.mark.parametrize("splitter", ["period", "newline"])
def test_scores_of_ascii_are_those_of_rouge_score(splitter) -> None:
    generator = random.Random(1)
    references = [random_ascii(generator, generator.randrange(60)) for _ in range(200)]
    predictions = ["".join(generator.sample(text, len(text))[5:]) + text[::2] for text in references]
    scores = [example_scores(predictions, references, splitter, tokenizer=name) for name in ("ascii", "unicode")]
    assert np.abs(scores[0] - scores[1]).max() < 1e-12 and 0.05 < scores[0].mean() < 0.95
    pairs = [rouge_of_pairs(references[:30], ("rouge1", "rouge2", "rougeL"), name) for name in ("ascii", "unicode")]
    assert np.abs(pairs[0] - pairs[1]).max() < 1e-12


@pytest.mark.parametrize(
    ("prediction", "reference", "rouge1", "rouge2", "rouge_l"),
    [
        # Chinese: 6 and 6 characters share all but the second; 3 of 5 and 5 pairs; 5 in order.
        ("猫坐在垫子上。", "猫躺在垫子上。", 10 / 12, 6 / 10, 10 / 12),
        # Japanese, Katakana too: 7 and 7 characters share 5, in order; 6 and 6 pairs the first and を飲.
        ("コーヒーを飲む", "コーラを飲んむ", 10 / 14, 4 / 12, 10 / 14),
        # Hindi: 5 and 6 words share 4, in order; 4 and 5 pairs share the first two. Vowel signs are parts of a word.
        ("बिल्ली चटाई पर बैठी है।", "बिल्ली चटाई पर सो रही है।", 8 / 11, 4 / 9, 8 / 11),
        # Arabic: the same 4 words, the first two exchanged: one pair of 3 and 3 is common, and 3 words are in order.
        ("جلست القطة على السجادة", "القطة جلست على السجادة.", 1, 2 / 6, 6 / 8),
        # Thai: แ ม ว น อ น and แ ม ว กิ น share 4 characters, in order, and the first two pairs of 5 and 4.
        ("แมวนอน", "แมวกิน", 8 / 11, 4 / 9, 8 / 11),
        # Korean has words: 3 and 3, of which the first two are the same.
        ("고양이가 매트 위에", "고양이가 매트 아래에", 4 / 6, 2 / 4, 4 / 6),
        # Russian, in either case.
        ("Кошка сидит", "КОШКА СПИТ", 2 / 4, 0, 2 / 4),
    ],
)
def test_by_hand(prediction: str, reference: str, rouge1: float, rouge2: float, rouge_l: float) -> None:
    scores = rouge_scores([prediction], [reference], tokenizer="unicode")
    expected = {"rouge1": rouge1, "rouge2": rouge2, "rougeL": rouge_l, "rougeLsum": rouge_l}
    assert scores == pytest.approx({name: 100 * value for name, value in expected.items()}, abs=1e-12)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Straße STRASSE", ["strasse", "strasse"]),
        ("e\u0301te\u0301 été", ["été", "été"]),
        ("ＡＢＣ ﬁne ｶﾞ", ["abc", "fine", "ガ"]),
        ("می\u200cخواهم so\u00adft", ["میخواهم", "soft"]),  # a joiner in Persian, a soft hyphen
        ("l’homme l'été col·legi צה״ל", ["l", "homme", "l", "été", "col·legi", "צה״ל"]),
        ("ລາວ ខ្មែរ မြန်မာ", ["ລ", "າ", "ວ", "ខ្", "មែ", "រ", "မြ", "န်", "မာ"]),
        ("3.14 ١٢٣ COVID-19 snake_case", ["3", "14", "١٢٣", "covid", "19", "snake", "case"]),
        ("🙂 … – ।", []),
    ],
)
def test_what_a_word_is(text: str, words: list[str]) -> None:
    assert unicode_words(text) == words


def test_any_text_at_all() -> None:
    """No word holds a space, and a text in decomposed characters has the same words."""
    generator = random.Random(2)
    for _ in range(500):
        codes = [generator.randrange(*generator.choice([(0x3000,), (0x110000,)])) for _ in range(30)]
        text = "".join(" " if 0xD800 <= code < 0xE000 or generator.random() < 0.1 else chr(code) for code in codes)
        words = unicode_words(text)
        assert not any(character.isspace() for word in words for character in word), repr(text)
        assert unicode_words(unicodedata.normalize("NFD", text)) == words, repr(text)


def test_words_of_ascii_alone_are_stemmed() -> None:
    assert stemmed_unicode_words("Running cafés, naïvely; кошки") == ["run", "cafés", "naïvely", "кошки"]
