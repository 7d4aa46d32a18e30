import numpy as np

from utils.data.tokens.duplicates import found_in, pair_hashes, repeats, text_hashes


def hashes(*texts: str) -> np.ndarray:
    return text_hashes(text.encode() for text in texts)


def test_a_text_has_one_hash_everywhere() -> None:
    """Hashes are kept in files, so they must never change."""
    assert hashes("", "a").tolist() == [0xB4B2797457A0A6E4, 0x2F42665B399EF840]


def test_repeats_and_common_texts() -> None:
    assert repeats(hashes("a", "b", "a", "a", "a ")) == 2
    assert found_in(hashes("a", "b", "a", "c"), hashes("a", "c", "d")) == 3


def test_a_pair_is_both_its_texts_in_order() -> None:
    sources, targets = hashes("a", "b", "a", "a"), hashes("b", "a", "c", "b")
    assert repeats(pair_hashes(sources, targets)) == 1
