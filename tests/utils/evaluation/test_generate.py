"""Batches of a search: by rows, by tokens, and as small as memory demands."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from bart.errors import InputError
from bart.generation import step_decoder
from bart.modeling.modeling_bart import BartForConditionalGeneration
from bart.tokenization.tokenization_bart import BartTokenizer
from tests.tiny_setup import tiny_config
from utils.cli.rerank_args import RerankSettings
from utils.data.batch_sampler import batches_by_tokens
from utils.data.tokens.token_array import TokenStore
from utils.evaluation.generate import BatchGenerator, BatchSize, Generations, generate
from utils.evaluation.rerank import Reranker
from utils.runtime.evaluation_group import EvaluationGroup

SEARCH = {"num_beams": 2, "max_length": 10}


@pytest.fixture
def model() -> BartForConditionalGeneration:
    torch.manual_seed(0)
    return BartForConditionalGeneration(tiny_config().copy(init_std=0.3)).eval()


@pytest.fixture
def sources() -> TokenStore:
    random = np.random.default_rng(0)
    rows = [random.integers(4, 400, length) for length in (5, 30, 12, 12, 25, 7, 18)]
    return TokenStore(np.concatenate(rows), np.cumsum([0, *map(len, rows)]))


def generated(
    model: BartForConditionalGeneration,
    sources: TokenStore,
    tokenizer: BartTokenizer,
    size: BatchSize,
    warm_up: bool = False,
) -> Generations:
    return generate(model, tokenizer, sources, size, SEARCH, EvaluationGroup(), warm_up)


def test_as_many_rows_as_fit_into_the_tokens() -> None:
    """The tokens include the padding to a multiple of 8."""
    lengths = np.array([3, 10, 4, 4, 9, 1])
    assert [rows.tolist() for rows in batches_by_tokens(lengths, 32)] == [[1, 4], [2, 3, 0, 5]]
    assert [rows.tolist() for rows in batches_by_tokens(lengths, 2)] == [[1], [4], [2], [3], [0], [5]]


def test_what_does_not_fit_into_memory_is_halved(
    model: BartForConditionalGeneration,
    sources: TokenStore,
    tokenizer: BartTokenizer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The memory is simulated; the error is torch's own, of an allocation that is too large for any machine."""
    expected = generated(model, sources, tokenizer, BatchSize(7)).texts
    capsys.readouterr()
    tried: list[int] = []
    forward = model.model.encoder.forward

    def small_memory(input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None) -> torch.Tensor:
        tried.append(input_ids.numel())
        if input_ids.numel() > 70:
            torch.empty(1 << 60, dtype=torch.uint8)
        return forward(input_ids, attention_mask)

    monkeypatch.setattr(model.model.encoder, "forward", small_memory)
    assert generated(model, sources, tokenizer, BatchSize(7)).texts == expected
    assert capsys.readouterr().err.count("out of memory with") == 2
    assert tried[:3] == [224, 128, 64]  # 7 rows of 32 tokens, 4, 2; after that, none that is known to be too large
    assert max(tried[3:]) <= 70


def test_what_searches_have_left_goes_before_a_batch_is_halved(
    model: BartForConditionalGeneration,
    sources: TokenStore,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Captured steps are kept for the next search, as on a GPU."""
    rows = np.arange(4)
    expected = [sequences.tolist() for _, sequences, _ in BatchGenerator(model, sources, SEARCH).search(rows)]
    monkeypatch.setattr(step_decoder, "_WITH_GRAPHS", {"cpu"})
    searcher, freed = BatchGenerator(model, sources, SEARCH), []
    forward = model.model.encoder.forward

    def small_memory(*given: torch.Tensor) -> torch.Tensor:
        if searcher._graphs.is_filled:
            freed.append(1)
            torch.empty(1 << 60, dtype=torch.uint8)
        return forward(*given)

    monkeypatch.setattr(model.model.encoder, "forward", small_memory)
    for _ in range(2):
        assert [sequences.tolist() for _, sequences, _ in searcher.search(rows)] == expected
    assert len(freed) == 1
    assert "out of memory" not in capsys.readouterr().err


def test_a_single_source_that_does_not_fit_is_named(
    model: BartForConditionalGeneration, sources: TokenStore, tokenizer: BartTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model.model.encoder, "forward", lambda *_: torch.empty(1 << 60, dtype=torch.uint8))
    with pytest.raises(InputError, match="a single source of 30 tokens"):
        generated(model, sources, tokenizer, BatchSize(7))


def test_a_warm_up_changes_no_text_and_takes_no_time_of_its_own(
    model: BartForConditionalGeneration, sources: TokenStore, tokenizer: BartTokenizer
) -> None:
    plain = generated(model, sources, tokenizer, BatchSize(4))
    warmed = generated(model, sources, tokenizer, BatchSize(4), warm_up=True)
    assert warmed.texts == plain.texts
    assert len(warmed.seconds) == len(plain.seconds) == 2
    by_tokens = generated(model, sources, tokenizer, BatchSize(4, tokens=40))
    assert by_tokens.texts.keys() == plain.texts.keys()


class SlowReranker(Reranker):
    """Takes longer to choose than to search, as with many candidates beside a GPU."""

    searched = chosen = most_ahead = 0

    def find_candidates(self, *given: Any, **named: Any) -> torch.Tensor:
        self.searched += 1
        self.most_ahead = max(self.most_ahead, self.searched - self.chosen)
        return super().find_candidates(*given, **named)

    def choose(self, candidates: Sequence[Sequence[str]]) -> list[int]:
        time.sleep(0.2)
        self.chosen += 1
        return super().choose(candidates)


def test_few_batches_wait_to_be_decoded(
    model: BartForConditionalGeneration, sources: TokenStore, tokenizer: BartTokenizer
) -> None:
    """At a signal they still are: all together could take minutes."""
    settings = RerankSettings("consensus", rerank_samples=2)
    reranker = SlowReranker(model.config, SEARCH, settings, keep_plain=True)
    generate(model, tokenizer, sources, BatchSize(1), SEARCH, EvaluationGroup(), reranker=reranker)
    assert reranker.chosen == 7 and reranker.most_ahead <= 4
