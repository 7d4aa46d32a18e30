"""Steps with fixed shapes, as they are captured on a GPU: here each window computes with what its first step saw."""

import gc
import weakref
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from bart.generation import active_sentences, cuda_graphs, step_decoder
from bart.generation.cuda_graphs import CudaGraphCache, CudaGraphCapture
from bart.modeling.layers.kv_cache import DecoderCache
from bart.modeling.modeling_bart import BartDecoder
from tests.generation.random_searches import our_tokens, pair_of, random_settings, searched
from tests.random_models import model_pair


@pytest.mark.parametrize("window", [1, 4, 100])
def test_the_same_tokens_with_fixed_shapes(window: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a step reads that is not at a fixed place in memory would be out of date in the next one."""
    expected = {search: searched(search).tolist() for search in range(window, 320, 11)}
    monkeypatch.setattr(step_decoder, "_WITH_GRAPHS", {"cpu"})
    monkeypatch.setattr(cuda_graphs, "_WINDOW", window)
    monkeypatch.setattr(cuda_graphs, "_FEWEST_STEPS", 1 if window < 100 else 6)
    monkeypatch.setattr(active_sentences, "_HALVES", {"cpu"})
    captures = note_captures(monkeypatch)
    for search, tokens in expected.items():
        assert our_tokens(search, random_settings(search)).tolist() == tokens, f"search {search}"
    assert len(captures) >= len(expected)


def note_captures(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Filled with the shape of each capture that follows."""
    captures: list[tuple[int, ...]] = []
    capture = CudaGraphCapture.capture

    def noted(itself: object, compute: Callable[[Tensor], None], example: Tensor) -> Callable[[Tensor], None]:
        captures.append(tuple(example.shape))
        return capture(itself, compute, example)

    monkeypatch.setattr(CudaGraphCapture, "capture", noted)
    return captures


@pytest.mark.parametrize("beams", [1, 3])
def test_searches_of_one_shape_share_what_is_captured(beams: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other sources, lengths and masks, and sentences that have left the one before; then another shape."""
    model = model_pair(1004, eos_bias=2.0).ours
    generator = torch.Generator().manual_seed(0)
    batches = []
    for length in (14, 16, 10, 16, 24, 12):
        source = torch.randint(4, model.config.vocab_size, (12, length), generator=generator)
        mask = torch.ones_like(source)
        mask[::3, 7:] = 0
        batches.append((source, mask))
    settings = {"num_beams": beams, "max_length": 30}
    expected = [model.generate(*batch, **settings).tolist() for batch in batches]
    monkeypatch.setattr(step_decoder, "_WITH_GRAPHS", {"cpu"})
    monkeypatch.setattr(cuda_graphs, "_WINDOW", 8)
    monkeypatch.setattr(cuda_graphs, "_SOURCE_WINDOW", 8)
    captures = note_captures(monkeypatch)
    graphs, counts = CudaGraphCache(), []
    for place in (0, 1, 2, 3, 3, 2, 1, 0, 4, 5):
        assert model.generate(*batches[place], graphs=graphs, **settings).tolist() == expected[place]
        counts.append(len(captures))
    of_one_shape, same_again, of_another, of_the_first = counts[3], counts[7], counts[8], counts[9]
    assert 0 < of_one_shape == same_again < of_another < of_the_first

    # With room for several shapes, those that come back are not captured again.
    graphs = CudaGraphCache(most_bytes=10**9)
    for place in (3, 4, 3, 4):
        assert model.generate(*batches[place], graphs=graphs, **settings).tolist() == expected[place]
        counts.append(len(captures))
    assert of_the_first < counts[-4] < counts[-3] == counts[-2] == counts[-1]


def test_the_shape_that_was_used_last_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is more than the bytes goes, the least recently used first; one decoder may be larger."""
    kept = CudaGraphCache(most_bytes=100)
    device = torch.device("cpu")

    def use(shape: str, size: int) -> bool:
        """Whether the shape was there."""
        if kept.get(shape, size, device) is not None:
            return True
        kept.put(shape, SimpleNamespace(bytes=size))
        return False

    assert [use("a", 40), use("b", 40), use("a", 40), use("c", 50)] == [False, False, True, False]
    assert [use("a", 40), use("c", 50), use("b", 40)] == [True, True, False]  # c took the place of b; now b that of a
    assert [use("c", 50), use("large", 300), use("c", 50)] == [True, False, False]
    kept.clear()
    assert not kept.is_filled


def test_few_graphs_for_natural_lengths(monkeypatch: pytest.MonkeyPatch) -> None:
    """1,000 documents, sixteen times shorter than articles, and as uneven; the longest summaries have two windows."""
    model = model_pair(1004, eos_bias=1.0).ours
    random = np.random.default_rng(0)
    lengths = np.sort(np.clip(random.lognormal(np.log(27), 0.6, 1000), 3, 64).astype(int))[::-1]
    monkeypatch.setattr(step_decoder, "_WITH_GRAPHS", {"cpu"})
    monkeypatch.setattr(active_sentences, "_HALVES", {"cpu"})
    monkeypatch.setattr(cuda_graphs, "_SOURCE_WINDOW", 8)
    captures, graphs = note_captures(monkeypatch), CudaGraphCache(most_bytes=10**9)
    for start in range(0, 1000, 64):
        of_batch = lengths[start : start + 64]
        source = torch.from_numpy(random.integers(4, model.config.vocab_size, (len(of_batch), of_batch[0])))
        mask = (torch.arange(int(of_batch[0])) < torch.from_numpy(of_batch.copy())[:, None]).long()
        model.generate(source, mask, graphs=graphs, num_beams=2, max_length=60)
    assert 8 <= len(captures) <= 40


def test_memory_is_freed_with_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    """At once: what waits for Python's collector would fill a GPU."""
    monkeypatch.setattr(step_decoder, "_WITH_GRAPHS", {"cpu"})
    caches = []
    new_cache = BartDecoder.new_cache

    def noted(*arguments: object) -> DecoderCache:
        cache = new_cache(*arguments)
        caches.append(weakref.ref(cache))
        return cache

    monkeypatch.setattr(BartDecoder, "new_cache", noted)
    gc.disable()
    try:
        our_tokens(1, random_settings(1))
        assert caches and all(cache() is None for cache in caches)
    finally:
        gc.enable()


def test_what_cannot_be_captured_is_computed_step_by_step(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = searched(1).tolist()

    tries = []

    def refuse(*_: object) -> None:
        tries.append(1)
        raise RuntimeError("operation not permitted when stream is capturing\nand more")

    monkeypatch.setattr(step_decoder, "_WITH_GRAPHS", {"cpu"})
    monkeypatch.setattr(CudaGraphCapture, "capture", refuse)
    with pytest.warns(UserWarning, match="without CUDA graphs: operation not permitted when stream is capturing$"):
        assert our_tokens(1, random_settings(1)).tolist() == expected
    pair, graphs, tokens = pair_of(1), CudaGraphCache(), []
    with pytest.warns(UserWarning, match="without CUDA graphs"):
        tokens = [pair.ours.generate(pair.input_ids, graphs=graphs, max_length=9).tolist() for _ in range(2)]
    assert tokens[0] == tokens[1] and len(tries) == 2  # once for each cache


@pytest.mark.parametrize("beams", [1, 6])
def test_bytes_of_the_cache(beams: int) -> None:
    """2 numbers for key and value, by layers, sentences, heads and head size; of the source once for all beams."""
    pair = model_pair(3)
    config, (sentences, length) = pair.ours.config, pair.input_ids.shape
    with torch.no_grad():
        states = pair.ours.model.encoder(pair.input_ids, pair.attention_mask)
        cache = pair.ours.model.decoder.new_cache(states, beams, 20)
    assert isinstance(cache, DecoderCache)
    per_token = 2 * config.decoder_layers * sentences * config.d_model * 8  # bytes of float64
    assert cache.bytes() == (per_token * 20 * beams, per_token * length)
    held = sum(
        tensor.untyped_storage().nbytes()
        for layer in cache.layers
        for tensor in (layer.self_keys, layer.self_values, layer.cross_keys, layer.cross_values)
    )
    assert held == sum(cache.bytes())
