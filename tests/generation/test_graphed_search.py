"""Searches whose steps are recorded whole find what the others find."""

import copy
import random
import warnings
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from bart.generation import active_sentences, generate, step_decoder
from bart.generation.cuda_graphs import CudaGraphCache, CudaGraphCapture
from bart.modeling.kernels import all_kernels, available
from tests.generation.random_searches import our_tokens, pair_of, random_bad_words, random_settings, searched
from tests.generation.recorded_operations import RecordedOperations, record_on_cpu

MODELS = 40
BATCHES = 6
KERNELS = {"normalizers", "best_continuations", "allow_only", "ban_repeated_ngrams", "extend_beams"}


def common_settings(rng: random.Random, vocab_size: int) -> dict[str, Any]:
    """Settings of which a captured step knows all, each on in a good part of all searches."""
    settings: dict[str, Any] = {"max_length": rng.randint(8, 24), "num_beams": rng.choice([1, 1, 2, 3, 4, 5, 6])}
    beams = settings["num_beams"]

    def perhaps(name: str, value: Any, probability: float = 0.3) -> None:
        if rng.random() < probability:
            settings[name] = value

    perhaps("min_length", rng.randint(3, settings["max_length"] - 2))
    perhaps("no_repeat_ngram_size", rng.choice([1, 2, 2, 3]))
    perhaps("forced_bos_token_id", rng.randint(3, vocab_size - 1))
    perhaps("forced_eos_token_id", rng.choice([2, [2, 5]]), 0.5)
    perhaps("repetition_penalty", rng.choice([0.7, 1.3, 2.0]))
    perhaps("bad_words_ids", random_bad_words(rng, vocab_size))
    perhaps("suppress_tokens", [rng.randint(6, vocab_size - 1) for _ in range(vocab_size // 4)])
    perhaps("begin_suppress_tokens", [rng.randint(3, vocab_size - 1) for _ in range(vocab_size // 4)])
    perhaps("eos_token_id", rng.choice([[2, 7], [2, 7, 9], None]), 0.2)
    if settings.get("suppress_tokens"):
        settings.pop("forced_bos_token_id", None)
    if beams > 1:
        perhaps("early_stopping", rng.choice([True, "never"]), 0.7)
        perhaps("length_penalty", rng.choice([-1.0, 0.0, 0.5, 2.0, 3.0]), 0.5)
        perhaps("num_return_sequences", beams, 0.5)
    return settings


def random_batch(rng: random.Random, vocab_size: int) -> tuple[Tensor, Tensor]:
    """Up to twelve sources of uneven length, of which some are as long as others'."""
    lengths = [rng.randint(2, rng.choice([8, 16])) for _ in range(rng.choice([1, 3, 9, 12]))]
    tokens = [[0, *(rng.randint(4, vocab_size - 1) for _ in range(length - 2)), 2] for length in lengths]
    padded = torch.tensor([row + [1] * (max(lengths) - len(row)) for row in tokens])
    return padded, (padded != 1).long()


@pytest.mark.parametrize("first", range(0, MODELS, 10))
def test_the_same_tokens(first: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of different shapes and settings, one after the other, share what is captured."""
    graphed, early = note_searches(monkeypatch), 0
    for model in range(first, first + 10):
        rng = random.Random(model)
        ours = pair_of(model).ours
        batches = [random_batch(rng, ours.config.vocab_size) for _ in range(3)]
        searches = [common_settings(rng, ours.config.vocab_size) for _ in range(3)]
        pairs = [(rng.choice(batches), rng.choice(searches)) for _ in range(BATCHES)]
        expected = [ours.generate(*batch, **settings).tolist() for batch, settings in pairs]
        graphs = CudaGraphCache(most_bytes=rng.choice([0, 10**9]))
        with monkeypatch.context() as patch:
            captures = record_on_cpu(patch, *rng.choice([(4, 2), (8, 2), (32, 6)]))
            patch.setitem(active_sentences._LAG, "cpu", rng.choice([0, 2]))
            for (batch, settings), tokens in zip(pairs, expected, strict=True):
                assert ours.generate(*batch, graphs=graphs, **settings).tolist() == tokens, f"{model}: {settings}"
                early += len(tokens[0]) < settings["max_length"]
            assert captures
    assert len(graphed) == 10 * BATCHES and early > 10


def note_searches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Filled with the number of sentences of each search whose steps are captured whole."""
    searches = []

    def noted(decoder: object, prompt: Tensor, *others: object) -> Tensor:
        searches.append(len(prompt))
        return graphed_search(decoder, prompt, *others)

    graphed_search = generate.graphed_search
    monkeypatch.setattr(generate, "graphed_search", noted)
    return searches


def test_other_settings_capture_the_decoder_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = {search: searched(search).tolist() for search in range(0, 320, 8)}
    graphed, captures = note_searches(monkeypatch), record_on_cpu(monkeypatch, window=8, fewest_steps=2)
    for search, tokens in expected.items():
        assert our_tokens(search, random_settings(search)).tolist() == tokens, f"search {search}"
    assert 10 < len(graphed) < len(expected) - 5 and len(captures) > len(expected)


@pytest.mark.parametrize("beams", [1, 6])
def test_the_host_has_little_to_do(beams: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two steps of a batch of one: a look at the flags, and their copy."""
    pair = pair_of(1)
    source, steps = pair.input_ids[:1], []
    settings = {"num_beams": beams, "max_length": 30, "min_length": 29, "no_repeat_ngram_size": 3}
    expected = pair.ours.generate(source, **settings).tolist()
    record_on_cpu(monkeypatch)
    counting = CountedOperations()
    repeat = RecordedOperations.repeat

    def noted(recorded: RecordedOperations) -> None:
        steps.append(counting.count)
        repeat(recorded)

    monkeypatch.setattr(RecordedOperations, "repeat", noted)
    with counting:
        assert pair.ours.generate(source, **settings).tolist() == expected
    of_each = [after - before for before, after in pairwise(steps)]
    assert len(of_each) > 20 and max(of_each) <= 3


class CountedOperations(TorchDispatchMode):
    """Counts the operations within its block, but not those that a recording repeats."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        return func(*args, **(kwargs or {}))


def test_a_search_goes_on_if_its_steps_cannot_be_captured(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = pair_of(1)
    settings = {"num_beams": 3, "max_length": 20}
    expected = pair.ours.generate(pair.input_ids, **settings).tolist()
    record_on_cpu(monkeypatch)

    def refuse(*_: object) -> None:
        raise RuntimeError("operation not permitted when stream is capturing\nand more")

    monkeypatch.setattr(CudaGraphCapture, "capture", refuse)
    graphs = CudaGraphCache()
    with pytest.warns(UserWarning, match="without CUDA graphs: operation not permitted when stream is capturing$"):
        assert pair.ours.generate(pair.input_ids, graphs=graphs, **settings).tolist() == expected
    with warnings.catch_warnings(action="error"):
        assert pair.ours.generate(pair.input_ids, graphs=graphs, **settings).tolist() == expected


def test_graphs_of_few_settings_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are captured again when they come back after others, and until then not."""
    pair, captures, graphs, counts = pair_of(1), record_on_cpu(monkeypatch), CudaGraphCache(), []
    for penalty in (1.0, 2.0, 1.0, 3.0, 4.0, 5.0, 1.0, 2.0):
        settings = {"num_beams": 2, "max_length": 20, "min_length": 19, "length_penalty": penalty}
        pair.ours.generate(pair.input_ids, graphs=graphs, **settings)
        counts.append(len(captures))
    assert counts == [1, 2, 2, 3, 4, 5, 5, 6]


def test_with_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of a step by kernels. In float32, where hardly two scores are equal, and no rule makes them so."""
    searches = [
        {"num_beams": 1, "no_repeat_ngram_size": 2, "forced_bos_token_id": 7, "min_length": 5},
        {"num_beams": 4, "no_repeat_ngram_size": 2, "forced_bos_token_id": 7, "forced_eos_token_id": 2},
        {"num_beams": 6, "min_length": 5, "length_penalty": 2.0, "suppress_tokens": [5, 9, 40], "eos_token_id": [2, 7]},
        {"num_beams": 3, "early_stopping": True, "no_repeat_ngram_size": 1, "bad_words_ids": [[8], [4, 5], [2]]},
        {"num_beams": 2, "early_stopping": "never", "repetition_penalty": 1.3, "num_return_sequences": 2},
    ]
    found, graphed, used = [], note_searches(monkeypatch), note_kernels(monkeypatch)
    pairs = [pair_of(number) for number in (1, 2)]
    models = [copy.deepcopy(pair.ours).float() for pair in pairs]
    for is_by_kernels in (False, True):
        if is_by_kernels:
            monkeypatch.setattr(available, "_DEVICES", {"cpu"})
            monkeypatch.setattr(step_decoder, "_WITH_GRAPHS", {"cpu"})
        for pair, model in zip(pairs, models, strict=True):
            for settings in searches:
                found.append(model.generate(pair.input_ids, max_length=9, **settings).tolist())
    half = len(found) // 2
    assert found[:half] == found[half:]
    assert len(graphed) == 2 * len(searches) and used == KERNELS


def note_kernels(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Filled with the names of the kernels that a search uses."""
    used: set[str] = set()

    def noting(name: str, kernel: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*arguments: Any) -> Any:
            used.add(name)
            return kernel(*arguments)

        return noted

    for name in KERNELS:
        monkeypatch.setattr(all_kernels, name, noting(name, getattr(all_kernels, name)))
    return used
