"""Cuts documents into blocks, and keeps these in memory-mapped files."""

from pathlib import Path

import numpy as np
import pytest

from bart.errors import InputError
from bart.tokenization.tokenization_bart import BartTokenizer
from utils.data.line_files import scan
from utils.data.tokens.block_cache import BlockLimits, PreparedBlocks, cut_blocks, prepare_blocks

LIMITS = BlockLimits(prefix=" ", max_length=12)


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    path = tmp_path / "train.source"
    path.write_text("add an argument\nreturn it\n\nthe parser\n \n" + "many words " * 30 + "\n", encoding="utf-8")
    return path


def prepare(path: Path, tokenizer: BartTokenizer, limits: BlockLimits = LIMITS) -> PreparedBlocks:
    return prepare_blocks(scan(path), tokenizer, limits)


def folders(path: Path) -> list[Path]:
    return sorted((path.parent / ".prepared").iterdir())


def test_blocks_are_the_documents(documents: Path, tokenizer: BartTokenizer) -> None:
    """Blocks are full lines if these fit, of one document; every token is in one block."""
    blocks = prepare(documents, tokenizer)
    texts = [blocks.texts[row].tolist() for row in range(len(blocks.texts))]
    assert all(text[0] == 0 and text[-1] == 2 and len(text) <= 12 for text in texts)
    decoded = [tokenizer.decode(text, skip_special_tokens=True) for text in texts]
    by_line = dict.fromkeys(blocks.lines.tolist(), "")
    for line, text in zip(blocks.lines.tolist(), decoded, strict=True):
        by_line[line] += text
    # No two lines fit into a block together; the last line is cut into several blocks.
    assert "".join(by_line.values()) == " add an argument return it the parser " + "many words " * 30
    assert list(by_line)[-1] == 5 and blocks.lines.tolist().count(5) > 3


def test_a_second_start_finds_them(documents: Path, tokenizer: BartTokenizer) -> None:
    first = prepare(documents, tokenizer)
    made = [(folder, folder.stat().st_mtime_ns) for folder in folders(documents)]
    second = prepare(documents, tokenizer)
    assert [(folder, folder.stat().st_mtime_ns) for folder in folders(documents)] == made
    assert np.array_equal(first.texts.tokens, second.texts.tokens)
    assert first.texts.checksum() == second.texts.checksum()


def test_other_texts_and_limits_give_others(documents: Path, tokenizer: BartTokenizer) -> None:
    """Blocks of earlier texts are deleted."""
    prepare(documents, tokenizer)
    assert len(prepare(documents, tokenizer, BlockLimits(" ", 12, blocks=2)).texts) == 2
    assert len(folders(documents)) == 2
    documents.write_text("another text\n", encoding="utf-8")
    assert len(prepare(documents, tokenizer).texts) == 1
    assert len(folders(documents)) == 1


def test_a_damaged_folder_is_made_anew(documents: Path, tokenizer: BartTokenizer) -> None:
    expected = np.array(prepare(documents, tokenizer).texts.tokens)
    with open(folders(documents)[0] / "block.tokens", "r+b") as file:
        file.truncate(8)
    assert np.array_equal(prepare(documents, tokenizer).texts.tokens, expected)


def test_nothing_to_learn(tmp_path: Path, tokenizer: BartTokenizer) -> None:
    path = tmp_path / "train.source"
    path.write_text("\n \n\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"train\.source: every line is empty"):
        prepare(path, tokenizer)
    assert folders(path) == []


def cut(lines: list[list[int]], length: int) -> list[tuple[int, list[int]]]:
    return [(number, block.tolist()) for number, block in cut_blocks(lines, length)]


def test_as_many_full_lines_as_fit() -> None:
    lines = [[1, 1, 1], [2, 2], [3, 3, 3, 3], [4]]
    assert cut(lines, 2 + 5) == [(0, [1, 1, 1, 2, 2]), (2, [3, 3, 3, 3, 4])]
    assert cut(lines, 2 + 4) == [(0, [1, 1, 1]), (1, [2, 2]), (2, [3, 3, 3, 3]), (3, [4])]


def test_blocks_end_with_documents() -> None:
    assert cut([[], [1], [2], [], [], [3]], 100) == [(1, [1, 2]), (5, [3])]
    assert cut([], 100) == cut([[], []], 100) == []


def test_longer_lines_are_cut() -> None:
    """The next line fills up the block that the rest of a cut line begins."""
    assert cut([[1], [2] * 7, [3]], 2 + 3) == [(0, [1]), (1, [2, 2, 2]), (1, [2, 2, 2]), (1, [2, 3])]


def test_every_token_is_in_one_block() -> None:
    random = np.random.default_rng(0)
    lines = [random.integers(0, 1000, random.integers(0, 40)) for _ in range(500)]
    found = list(cut_blocks(lines, 2 + 16))
    assert np.array_equal(np.concatenate([block for _, block in found]), np.concatenate(lines))
    assert all(0 < len(block) <= 16 for _, block in found)
    assert [number for number, _ in found] == sorted(number for number, _ in found)
