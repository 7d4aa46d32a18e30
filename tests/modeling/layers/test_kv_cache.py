"""Decoding with the cache, a token at a time, gives what decoding everything at once gives."""

import pytest
import torch
from torch import Tensor

from bart.modeling.modeling_bart import BartForConditionalGeneration
from tests.random_models import model_pair

LENGTH = 7


def uncached_logits(model: BartForConditionalGeneration, source: Tensor, mask: Tensor, tokens: Tensor) -> Tensor:
    beams = len(tokens) // len(source)
    sources, masks = source.repeat_interleave(beams, 0), mask.repeat_interleave(beams, 0)
    return model(sources, masks, tokens).logits[:, -1]


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("seed", range(5))
def test_cached_and_uncached_decoding_agree_while_beams_are_reordered(seed: int, beams: int) -> None:
    pair = model_pair(seed)
    model, sentences = pair.ours, len(pair.input_ids)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        states = model.model.encoder(pair.input_ids, pair.attention_mask)
        cache = model.model.decoder.new_cache(states, beams, LENGTH)
        tokens = torch.randint(4, 40, (sentences * beams, 1), generator=generator)
        for step in range(LENGTH):
            assert cache.length == step
            decoded = model.model.decoder(tokens[:, -1:], None, pair.attention_mask, cache)
            logits = model.project_to_vocabulary(decoded[:, -1])
            expected = uncached_logits(model, pair.input_ids, pair.attention_mask, tokens)
            torch.testing.assert_close(logits, expected, rtol=0, atol=1e-9)
            within = torch.randint(beams, (sentences, beams), generator=generator)
            rows = (within + torch.arange(sentences)[:, None] * beams).flatten()
            cache.reorder(rows)
            following = torch.randint(4, 40, (sentences * beams, 1), generator=generator)
            tokens = torch.cat([tokens[rows], following], 1)


def test_several_tokens_at_once_fill_the_cache_as_single_ones_do() -> None:
    pair = model_pair(0)
    decoder = pair.ours.model.decoder
    tokens = torch.randint(4, 40, (len(pair.input_ids), LENGTH))
    with torch.no_grad():
        states = pair.ours.model.encoder(pair.input_ids, pair.attention_mask)
        at_once = decoder(tokens, None, pair.attention_mask, decoder.new_cache(states, 1, LENGTH))
        cache = decoder.new_cache(states, 1, LENGTH)
        singly = [decoder(tokens[:, [step]], None, pair.attention_mask, cache) for step in range(LENGTH)]
    torch.testing.assert_close(at_once, torch.cat(singly, 1), rtol=0, atol=1e-9)


@pytest.mark.parametrize("beams", [1, 4])
def test_cross_attention_is_kept_once_per_sentence(beams: int) -> None:
    pair = model_pair(0)
    states = pair.ours.model.encoder(pair.input_ids, pair.attention_mask)
    for layer in pair.ours.model.decoder.new_cache(states, beams, LENGTH).layers:
        assert layer.cross_keys.size(0) == layer.cross_values.size(0) == len(pair.input_ids)
        assert layer.cross_keys.size(2) == pair.input_ids.size(1)
