"""The share of sources that a length keeps whole is that of their tokens, whatever the length they were prepared at."""

from pathlib import Path

import pytest

from bart.tokenization.tokenization_bart import BartTokenizer
from utils.data.kept_whole import LENGTHS, share_kept_whole
from utils.data.splits import scan_split
from utils.data.tokens.pair_cache import TokenLimits, prepare_pairs


@pytest.mark.parametrize(("limit", "examples"), [(8, -1), (1024, -1), (4096, 5)])
def test_it_is_that_of_the_full_texts(tokenizer: BartTokenizer, tmp_path: Path, limit: int, examples: int) -> None:
    """At the edges, too; one pair, the third, lacks its target."""
    words = [1021, 1022, 5, 1023, 2045, 2047, 5000, 16_382, 16_383, 17_000, 1]
    word = max(token[1:] for token in tokenizer.get_vocab() if token.startswith("Ġ") and token[1:].isalpha())
    texts = [" ".join([word] * count) for count in words]
    (tmp_path / "train.source").write_text("".join(f"{text}\n" for text in texts))
    (tmp_path / "train.target").write_text("".join("\n" if row == 2 else "a\n" for row in range(len(words))))
    kept = [text for row, text in enumerate(texts) if row != 2][: examples if examples > 0 else None]
    full = [len(tokenizer(f" {text}")["input_ids"]) for text in kept]
    assert full == [count + 2 for row, count in enumerate(words) if row != 2][: len(full)]

    files = scan_split(tmp_path, "train")
    pairs = prepare_pairs(files, tokenizer, TokenLimits(" ", limit, 8, examples))
    shares = share_kept_whole(files, pairs, tokenizer, " ", limit)
    assert shares == {length: sum(count <= length for count in full) / len(full) for length in LENGTHS}
