"""Documents cut into blocks."""

import numpy as np

from utils.data.tokens.blocks import cut_blocks


def blocks(lines: list[list[int]], length: int) -> list[tuple[int, list[int]]]:
    return [(number, block.tolist()) for number, block in cut_blocks(lines, length)]


def test_whole_lines_as_many_as_fit() -> None:
    lines = [[1, 1, 1], [2, 2], [3, 3, 3, 3], [4]]
    assert blocks(lines, 2 + 5) == [(0, [1, 1, 1, 2, 2]), (2, [3, 3, 3, 3, 4])]
    assert blocks(lines, 2 + 4) == [(0, [1, 1, 1]), (1, [2, 2]), (2, [3, 3, 3, 3]), (3, [4])]


def test_blocks_end_with_documents() -> None:
    assert blocks([[], [1], [2], [], [], [3]], 100) == [(1, [1, 2]), (5, [3])]
    assert blocks([], 100) == blocks([[], []], 100) == []


def test_longer_lines_are_cut() -> None:
    """Their rest is filled up with what follows."""
    assert blocks([[1], [2] * 7, [3]], 2 + 3) == [(0, [1]), (1, [2, 2, 2]), (1, [2, 2, 2]), (1, [2, 3])]


def test_every_token_is_in_one_block() -> None:
    random = np.random.default_rng(0)
    lines = [random.integers(0, 1000, random.integers(0, 40)) for _ in range(500)]
    found = list(cut_blocks(lines, 2 + 16))
    assert np.array_equal(np.concatenate([block for _, block in found]), np.concatenate(lines))
    assert all(0 < len(block) <= 16 for _, block in found)
    assert [number for number, _ in found] == sorted(number for number, _ in found)
