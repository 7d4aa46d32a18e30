"""Beams whose expected values were computed by hand, ordinary ones and groups of them."""

import itertools
import math
import random

import pytest
import torch
from torch import Tensor

from tests.generation.table_decoder import EOS, PAD, START, A, B, search

# After <s>: a 0.6, b 0.4.  After a: </s> 0.1, a 0.44, b 0.46.  After b: </s> 0.9, a 0.06, b 0.04.
TABLE = torch.zeros(5, 5)
TABLE[START, A], TABLE[START, B] = 0.6, 0.4
TABLE[A, EOS], TABLE[A, A], TABLE[A, B] = 0.1, 0.44, 0.46
TABLE[B, EOS], TABLE[B, A], TABLE[B, B] = 0.9, 0.06, 0.04
TABLE = TABLE.expand(5, 5, 5)  # whatever the token before was

A_B_END, B_END = 0.6 * 0.46 * 0.9, 0.4 * 0.9  # 0.2484 and 0.36


def test_length_penalty_decides_between_a_short_and_a_long_output() -> None:
    # Step 2 finishes "b </s>"; step 3 ends at max_length and finishes "a b </s>".
    per_token = search(TABLE, num_beams=2, num_return_sequences=2, max_length=4, length_penalty=1.0)
    assert per_token.sequences.tolist() == [[START, A, B, EOS], [START, B, EOS, PAD]]
    assert per_token.sequences_scores.tolist() == pytest.approx([math.log(A_B_END) / 3, math.log(B_END) / 2], abs=1e-6)
    in_total = search(TABLE, num_beams=2, num_return_sequences=2, max_length=4, length_penalty=0.0)
    assert in_total.sequences.tolist() == [[START, B, EOS, PAD], [START, A, B, EOS]]
    assert in_total.sequences_scores.tolist() == pytest.approx([math.log(B_END), math.log(A_B_END)], abs=1e-6)


def test_beam_indices_name_the_beam_that_each_token_was_scored_in() -> None:
    output = search(TABLE, num_beams=2, num_return_sequences=2, max_length=4)
    # "a b </s>": a came from the start (beam 0); a was beam 0; after step 2 the running beams were "a b" and "a a".
    assert output.beam_indices.tolist() == [[0, 0, 0], [0, 1, -1]]
    for sequence, rows, score in zip(output.sequences, output.beam_indices, output.sequences_scores, strict=True):
        steps = [output.scores[step][row, sequence[step + 1]] for step, row in enumerate(rows.tolist()) if row >= 0]
        assert float(sum(steps)) / len(steps) == pytest.approx(float(score), abs=1e-6)


def test_early_stopping_keeps_what_finished_first() -> None:
    # With max_length 5 "a b </s>" is the second to finish. True stops there; False sees that "a a ..." cannot win.
    for early_stopping in (True, False):
        output = search(TABLE, num_beams=2, num_return_sequences=2, max_length=5, early_stopping=early_stopping)
        assert output.sequences.tolist() == [[START, A, B, EOS], [START, B, EOS, PAD]]


def test_without_diversity_all_groups_find_the_same() -> None:
    output = search(TABLE, num_beams=2, num_beam_groups=2, num_return_sequences=2, max_length=4)
    assert output.sequences.tolist() == [[START, A, B, EOS]] * 2
    assert output.sequences_scores.tolist() == pytest.approx([math.log(A_B_END) / 3] * 2, abs=1e-6)


def test_a_strong_diversity_penalty_sends_the_second_group_elsewhere() -> None:
    # Group 2 at step 1: a costs log 0.6 - 0.5 = -1.01, b log 0.4 = -0.92, so it takes b, then </s> unpenalized.
    settings = {"num_beams": 2, "num_beam_groups": 2, "num_return_sequences": 2, "max_length": 4}
    output = search(TABLE, **settings, diversity_penalty=0.5)
    assert output.sequences.tolist() == [[START, A, B, EOS], [START, B, EOS, PAD]]
    assert output.sequences_scores.tolist() == pytest.approx([math.log(A_B_END) / 3, math.log(B_END) / 2], abs=1e-6)


def test_a_weak_diversity_penalty_lowers_the_scores_of_what_is_shared() -> None:
    # Group 2 at step 1: a, log 0.6 - 0.3 = -0.81, still beats b, -0.92.  Step 2: group 1 took b, so b costs
    # log 0.46 - 0.3 = -1.08 and a, log 0.44 = -0.82, is taken.  Step 3: group 1 ends, and would go on with a, which is
    # avoided; b, log 0.46, beats a, log 0.44 - 0.3, and max_length ends it.
    settings = {"num_beams": 2, "num_beam_groups": 2, "num_return_sequences": 2, "max_length": 4}
    output = search(TABLE, **settings, diversity_penalty=0.3)
    assert output.sequences.tolist() == [[START, A, B, EOS], [START, A, A, B]]
    second = (math.log(0.6) - 0.3 + math.log(0.44) + math.log(0.46)) / 3
    assert output.sequences_scores.tolist() == pytest.approx([math.log(A_B_END) / 3, second], abs=1e-6)


@pytest.mark.parametrize("seed", range(10))
def test_enough_beams_find_the_best_of_all_outputs_in_order(seed: int) -> None:
    """As many beams as there are prefixes search everything; the best is then found by listing all outputs."""
    generator = torch.Generator().manual_seed(seed)
    table = torch.rand(5, 5, 5, generator=generator).square()
    table[:, :, [START, PAD]] = 0.0
    table /= table.sum(2, keepdim=True)
    max_length = random.Random(seed).randint(3, 5)

    def log_probability(tokens: tuple[int, ...]) -> float:
        read = (START, START, *tokens)
        return sum(math.log(table[read[at : at + 3]]) for at in range(len(tokens)))

    outputs: list[tuple[int, ...]] = []
    for length in range(1, max_length):
        for body in itertools.product([A, B], repeat=length - 1):
            outputs.append((*body, EOS))
            if length == max_length - 1:
                outputs.extend((*body, last) for last in (A, B))
    best = sorted(outputs, key=log_probability, reverse=True)[:6]
    settings = {"num_beams": 32, "num_return_sequences": 6, "length_penalty": 0.0, "early_stopping": "never"}
    found = search(table, max_length=max_length, **settings)
    assert [_unpadded(sequence) for sequence in found.sequences] == [[START, *tokens] for tokens in best]
    assert found.sequences_scores.tolist() == pytest.approx([log_probability(tokens) for tokens in best], abs=1e-5)


def _unpadded(sequence: Tensor) -> list[int]:
    return [token for token in sequence.tolist() if token != PAD]
