"""Outputs that are no summaries, counted in hand-written ids and in those of real searches."""

from pathlib import Path

import pytest
import torch

from bart.modeling.modeling_bart import BartForConditionalGeneration
from bart.tokenization.tokenization_bart import BartTokenizer
from tests.tiny_setup import tiny_config
from utils.data.line_files import read_lines
from utils.data.splits import Pairs
from utils.evaluation.degenerate_outputs import degenerate_warning, repeats_special_tokens
from utils.evaluation.evaluate import EvaluationSettings, evaluate, result_text
from utils.evaluation.generate import BatchSize
from utils.io.json_files import read_json
from utils.reporting.results_page.page import write_page


@pytest.mark.parametrize(
    ("output", "repeats"),
    [
        ([2, 0, 7, 8, 2], False),
        ([2, 0, 7, 8, 2, 1, 1], False),
        ([2, 7, 8, 2], False),  # as the XSum model writes
        ([2, 0, 7, 8, 9], False),  # cut at max_length
        ([2, 2], False),  # empty
        ([2, 0, 2, 1], False),  # empty as well
        ([2, 1, 1, 1], False),  # the end by padding alone
        ([2, 0, 0, 2], True),
        ([2, 0, 0, 0, 0, 0], True),
        ([2, 0, 7, 0, 2], True),
        ([2, 0, 7, 8, 0, 0, 0, 2, 1], True),
        ([2, 0, 7, 1, 8, 2], True),  # padding within
        ([2, 0, 399, 7, 2], True),  # <mask>
        ([2, 0, 7, 2, 2, 1], True),
    ],
)
def test_by_hand(tokenizer: BartTokenizer, output: list[int], repeats: bool) -> None:
    padded = torch.ones(2, 10, dtype=torch.long)
    padded[0, : len(output)] = torch.tensor(output)
    padded[1, :5] = torch.tensor([2, 0, 5, 6, 2])
    if 1 in output or output[-1] == 2:
        assert repeats_special_tokens(padded, tokenizer).tolist() == [repeats, False]
    assert repeats_special_tokens(torch.tensor([output]), tokenizer).tolist() == [repeats]


def evaluated(
    tokenizer: BartTokenizer, folder: Path, favoured: int | None = None, **search: object
) -> tuple[str, dict[str, int]]:
    """Evaluate random summaries of five texts, with a ``favoured`` token that is far too likely."""
    torch.manual_seed(0)
    model = BartForConditionalGeneration(tiny_config().copy(init_std=0.3)).eval()
    if favoured is not None:
        model.final_logits_bias[0, favoured] = 1000.0
    settings = EvaluationSettings("test", " ", BatchSize(3), 64, "truncate", {"max_length": 12, **search})
    pairs = Pairs([f"text number {row}" for row in range(5)], ["a text"] * 5)
    result = evaluate(model, tokenizer, pairs, settings, folder, {"model": "m"})
    assert result is not None
    report = result.report
    assert read_json(folder / "test_rouge.json")["degenerate_outputs"] == report["degenerate_outputs"]
    write_page(folder, report, result.examples)
    return result_text(report), report["degenerate_outputs"]


def test_sound_outputs_are_not_warned_of(tokenizer: BartTokenizer, tmp_path: Path) -> None:
    banned = {"bad_words_ids": [[0], [1], [3], [399]]}
    said, counts = evaluated(tokenizer, tmp_path, min_length=6, **banned)
    assert counts == {"outputs": 5, "empty": 0, "repeat_special_tokens": 0, "either": 0}
    assert "repeat special tokens" not in (tmp_path / "results.html").read_text(encoding="utf-8")
    assert "\n" not in said and all(read_lines(tmp_path / "test_generations.txt"))


@pytest.mark.parametrize("search", [{}, {"num_return_sequences": 2}, {"num_beams": 1}, {"no_repeat_ngram_size": 0}])
def test_endless_special_tokens_are_warned_of(tokenizer: BartTokenizer, tmp_path: Path, search: dict[str, int]) -> None:
    """The texts do not show them. Forbidden repetitions of n-grams end the endless repetition, but it has happened."""
    said, counts = evaluated(tokenizer, tmp_path, favoured=0, **search)
    assert counts["outputs"] == counts["repeat_special_tokens"] == counts["either"] == 5
    line = said.splitlines()[-1]
    assert line.startswith("warning: 5 of 5 outputs (100.0%) repeat special tokens (5) or are empty (")
    assert line.endswith("): see docs/first_token.md")
    page = (tmp_path / "results.html").read_text(encoding="utf-8")
    assert "5 of 5 outputs repeat special tokens or are empty." in page
    assert not any("<s>" in text for text in read_lines(tmp_path / "test_generations.txt"))
    assert (Path(__file__).parents[3] / "docs" / "first_token.md").is_file()


def test_empty_outputs_are_warned_of(tokenizer: BartTokenizer, tmp_path: Path) -> None:
    said, counts = evaluated(tokenizer, tmp_path, favoured=2)
    assert counts == {"outputs": 5, "empty": 5, "repeat_special_tokens": 0, "either": 5}
    assert "repeat special tokens (0) or are empty (5)" in said.splitlines()[-1]
    assert read_lines(tmp_path / "test_generations.txt") == [""] * 5


def test_one_in_a_hundred_is_not_warned_of() -> None:
    for either, warned in ((0, False), (10, False), (11, True)):
        counts = {"outputs": 1000, "empty": 3, "repeat_special_tokens": 9, "either": either}
        assert (degenerate_warning({"degenerate_outputs": counts}) is not None) == warned
