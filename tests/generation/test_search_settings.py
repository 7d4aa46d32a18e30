"""Arguments of ``generate``: what overrides what, and what is refused."""

import warnings

import pytest
import torch

from bart.errors import InputError
from bart.modeling.modeling_bart import BartForConditionalGeneration
from tests.random_models import ModelPair, model_pair


@pytest.fixture(scope="module")
def pair() -> ModelPair:
    return model_pair(2)


def with_config(pair: ModelPair, **settings: object) -> BartForConditionalGeneration:
    model = BartForConditionalGeneration(pair.ours.config.copy(**settings)).double().eval()
    model.load_state_dict(pair.ours.state_dict())
    return model


def test_the_configuration_is_the_default_and_the_call_overrides_it(pair: ModelPair) -> None:
    configured = with_config(pair, num_beams=3, max_length=9, no_repeat_ngram_size=2)
    by_config = configured.generate(pair.input_ids)
    by_call = pair.ours.generate(pair.input_ids, num_beams=3, max_length=9, no_repeat_ngram_size=2)
    assert torch.equal(by_config, by_call)
    overridden = configured.generate(pair.input_ids, num_beams=1, max_length=5, no_repeat_ngram_size=0)
    assert torch.equal(overridden, pair.ours.generate(pair.input_ids, max_length=5))
    assert not torch.equal(by_config[:, :5], overridden)


def test_the_mask_is_made_from_the_padding_where_none_is_given(pair: ModelPair) -> None:
    assert (pair.attention_mask == 0).any()
    assert torch.equal(pair.ours.generate(pair.input_ids), pair.ours.generate(pair.input_ids, pair.attention_mask))


@pytest.mark.parametrize(
    ("call", "named"),
    [
        ({"beams": 4}, "beams"),
        ({"max_new_tokens": 4, "num_beam": 2}, "max_new_tokens, num_beam"),
        ({"num_beams": 0}, "num_beams=0"),
        ({"num_beams": 2.0}, "num_beams=2.0"),
        ({"max_length": 1}, "max_length=1"),
        ({"max_length": 66}, "max_length=66"),
        ({"temperature": 0.0, "do_sample": True}, "temperature=0.0"),
        ({"temperature": 0.7}, "do_sample"),
        ({"top_p": 1.5, "do_sample": True}, "top_p=1.5"),
        ({"top_k": 5, "do_sample": False}, "top_k=5"),
        ({"early_stopping": "always"}, "early_stopping='always'"),
        ({"length_penalty": float("nan")}, "length_penalty=nan"),
        ({"repetition_penalty": -1.0}, "repetition_penalty=-1.0"),
        ({"bad_words_ids": [5]}, "bad_words_ids"),
        ({"bad_words_ids": []}, "bad_words_ids"),
        ({"forced_bos_token_id": -1}, "forced_bos_token_id=-1"),
        ({"forced_eos_token_id": 500}, "forced_eos_token_id: token 500"),
        ({"bad_words_ids": [[500]]}, "bad_words_ids"),
        ({"num_return_sequences": 2}, "num_return_sequences=2"),
        ({"num_return_sequences": 4, "num_beams": 3}, "num_beams=3"),
        ({"num_beams": 3, "num_beam_groups": 2}, "num_beam_groups=2"),
        ({"num_beams": 4, "num_beam_groups": 2, "do_sample": True}, "do_sample"),
        ({"diversity_penalty": 1.0, "num_beams": 4}, "diversity_penalty=1.0"),
        ({"min_length": 9, "max_length": 8}, "min_length=9"),
    ],
)
def test_unknown_impossible_and_contradictory_arguments_are_refused_by_name(
    pair: ModelPair, call: dict[str, object], named: str
) -> None:
    with pytest.raises(InputError, match=r"^generate: ") as refusal:
        pair.ours.generate(pair.input_ids, **call)
    assert named in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_configured_min_length_above_the_calls_max_length_warns_once_and_cuts(pair: ModelPair) -> None:
    model = with_config(pair, min_length=10, max_length=12, forced_eos_token_id=2)
    with pytest.warns(UserWarning, match=r"min_length=10 is above max_length=6") as warned:
        ours = model.generate(pair.input_ids, max_length=6, num_beams=2)
    assert len(warned) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = pair.theirs.generate(
            pair.input_ids,
            attention_mask=pair.attention_mask,
            min_length=10,
            max_length=6,
            num_beams=2,
            forced_eos_token_id=2,
        )
    assert torch.equal(ours, theirs)
    assert (ours[:, 5] == 2).all() and ours.size(1) == 6


def test_a_return_dict_holds_the_same_sequences(pair: ModelPair) -> None:
    plain = pair.ours.generate(pair.input_ids, num_beams=3)
    full = pair.ours.generate(pair.input_ids, num_beams=3, return_dict_in_generate=True)
    assert torch.equal(plain, full.sequences)
    assert full.scores is None and full.sequences_scores is None


def test_sampling_survives_rules_that_ban_everything(pair: ModelPair) -> None:
    everything = [[token] for token in range(pair.ours.config.vocab_size)]
    for beams in (1, 2):
        tokens = pair.ours.generate(
            pair.input_ids, do_sample=True, num_beams=beams, bad_words_ids=everything, min_length=8, max_length=8
        )
        assert tokens.size(0) == len(pair.input_ids) and tokens.size(1) <= 8
