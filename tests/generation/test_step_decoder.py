"""Steps with fixed shapes, as they are recorded on a GPU: here each window computes with what its first step saw."""

import pytest
import torch

from bart.generation import step_decoder
from bart.modeling.kv_cache import DecoderCache
from tests.generation.random_searches import our_tokens, random_settings, searched
from tests.random_models import model_pair


@pytest.mark.parametrize("window", [1, 4, 100])
def test_the_same_tokens_with_fixed_shapes(window: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a step reads that is not at a fixed place in memory would be out of date in the next one."""
    expected = {search: searched(search).tolist() for search in range(window, 320, 11)}
    monkeypatch.setattr(step_decoder, "_WITH_FIXED_SHAPES", {"cpu"})
    monkeypatch.setattr(step_decoder, "_WINDOW", window)
    recordings = []
    recorded = step_decoder.Recorded

    def noted(*arguments: object) -> object:
        recordings.append(arguments)
        return recorded(*arguments)

    monkeypatch.setattr(step_decoder, "Recorded", noted)
    for search, tokens in expected.items():
        assert our_tokens(search, random_settings(search)).tolist() == tokens, f"search {search}"
    assert len(recordings) >= len(expected)


def test_what_cannot_be_recorded_is_computed_step_by_step(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = searched(1).tolist()

    def refuse(*_: object) -> None:
        raise RuntimeError("operation not permitted when stream is capturing\nand more")

    monkeypatch.setattr(step_decoder, "_WITH_FIXED_SHAPES", {"cpu"})
    monkeypatch.setattr(step_decoder, "Recorded", refuse)
    with pytest.warns(UserWarning, match="without CUDA graphs: operation not permitted when stream is capturing$"):
        assert our_tokens(1, random_settings(1)).tolist() == expected


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
