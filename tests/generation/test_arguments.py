"""Arguments of ``generate``: what overrides what, and what is refused."""

import warnings

import pytest
import torch

from bart.configuration.generation_config import GenerationConfig
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
        ({"max_tokens": 4, "num_beam": 2}, "max_tokens, num_beam"),
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
        ({"max_length": 9, "max_new_tokens": 8}, "max_length and max_new_tokens exclude each other"),
        ({"min_length": 9, "min_new_tokens": 8}, "min_length and min_new_tokens exclude each other"),
        ({"max_new_tokens": 65}, "max_new_tokens=65 exceeds the model's 64 positions"),
        ({"max_new_tokens": 0}, "max_new_tokens=0"),
        ({"max_new_tokens": 4, "min_new_tokens": 5}, "min_new_tokens=5 is above max_new_tokens=4"),
        ({"eos_token_id": []}, "eos_token_id=[]"),
        ({"eos_token_id": [2, 500]}, "eos_token_id: token 500"),
        ({"eos_token_id": "2"}, "eos_token_id='2'"),
        ({"pad_token_id": [1]}, "pad_token_id=[1]"),
        ({"decoder_start_token_id": 500}, "decoder_start_token_id: token 500"),
        ({"decoder_start_token_id": None, "bos_token_id": None}, "decoder_start_token_id=None"),
        ({"suppress_tokens": [5, 500]}, "suppress_tokens: token 500"),
        ({"begin_suppress_tokens": 5}, "begin_suppress_tokens=5"),
        ({"forced_bos_token_id": 5, "suppress_tokens": [5]}, "forced_bos_token_id=5: suppress_tokens bans it"),
        ({"min_p": 0.1}, "min_p=0.1 needs do_sample=True"),
        ({"min_p": 1.1, "do_sample": True}, "min_p=1.1"),
        ({"typical_p": 0.0, "do_sample": True}, "typical_p=0.0"),
        ({"encoder_repetition_penalty": 0}, "encoder_repetition_penalty=0"),
        ({"exponential_decay_length_penalty": (5,)}, "exponential_decay_length_penalty=[5]"),
        ({"sequence_bias": {(5,): "much"}}, "sequence_bias=[[[5], 'much']]"),
        ({"sequence_bias": [[[500], 1.0]]}, "sequence_bias: token 500"),
        ({"renormalize_logits": 1}, "renormalize_logits=1"),
        ({"generation_config": 5}, "generation_config"),
        ({"generation_config": {"num_beam": 5}}, "num_beam"),
        ({"stop_strings": ["."]}, "stop_strings is not supported: give stopping_criteria"),
        ({"streamer": print}, "streamer is not supported: "),
        ({"output_attentions": True}, "output_attentions is not supported: "),
        ({"assistant_model": object()}, "assistant_model is not supported: "),
        ({"stopping_criteria": [print], "num_beams": 2, "num_beam_groups": 2}, "stopping_criteria: groups"),
        ({"stopping_criteria": [5]}, "stopping_criteria: give a list of callables"),
        ({"logits_processor": [lambda tokens, scores: scores[:, :5]]}, "logits_processor: returned shape ("),
        ({"logits_processor": lambda tokens, scores: None}, "logits_processor: returned NoneType"),
        ({"stopping_criteria": [lambda tokens, scores: tokens > 5]}, "stopping_criteria: returned shape ("),
        ({"stopping_criteria": [lambda tokens, scores: "no"]}, "stopping_criteria: returned str"),
        ({"prefix_allowed_tokens_fn": lambda number, tokens: []}, "prefix_allowed_tokens_fn: returned no token"),
        (
            {"prefix_allowed_tokens_fn": lambda number, tokens: [500]},
            "prefix_allowed_tokens_fn: returned tokens outside",
        ),
        ({"decoder_input_ids": torch.tensor([[2, 500]])}, "decoder_input_ids"),
        ({"decoder_input_ids": torch.tensor([2, 5])}, "decoder_input_ids has shape (2,)"),
        ({"decoder_input_ids": None, "attention_mask": torch.ones(1, 99)}, "attention_mask has shape (1, 99)"),
        ({"encoder_outputs": torch.zeros(3, 4)}, "encoder_outputs"),
        ({"encoder_outputs": torch.zeros(3, 99, 8)}, "input_ids has shape"),
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


def test_a_configured_max_new_tokens_beats_the_calls_max_length_with_a_warning(pair: ModelPair) -> None:
    """As in transformers, unless the call says that there is none."""
    model = with_config(pair, max_new_tokens=4, eos_token_id=None)
    with pytest.warns(UserWarning, match=r"max_length=9 has no effect, .*max_new_tokens=4"):
        assert model.generate(pair.input_ids, max_length=9).size(1) == 5
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert model.generate(pair.input_ids, max_length=9, max_new_tokens=None).size(1) == 9
        assert model.generate(pair.input_ids, max_new_tokens=7).size(1) == 8


def test_without_lengths_twenty_tokens_are_written(pair: ModelPair) -> None:
    beginning = torch.full((len(pair.input_ids), 3), 5)
    assert pair.ours.generate(pair.input_ids, eos_token_id=None).size(1) == 21
    assert pair.ours.generate(pair.input_ids, eos_token_id=None, decoder_input_ids=beginning).size(1) == 24


def test_a_beginning_that_fills_the_output_is_refused(pair: ModelPair) -> None:
    beginning = torch.full((len(pair.input_ids), 5), 5)
    with pytest.raises(InputError, match="decoder_input_ids: 6 tokens leave no room in max_length=6"):
        pair.ours.generate(pair.input_ids, max_length=6, decoder_input_ids=beginning)


def test_the_models_generation_config_is_its_configuration(pair: ModelPair) -> None:
    model = with_config(pair)
    model.generation_config.num_beams = 3
    model.generation_config.max_new_tokens = 8
    assert torch.equal(
        model.generate(pair.input_ids), pair.ours.generate(pair.input_ids, num_beams=3, max_new_tokens=8)
    )


def test_a_generation_config_of_ours_replaces_all_settings(pair: ModelPair) -> None:
    model = with_config(pair, num_beams=3, no_repeat_ngram_size=2)
    by_object = model.generate(pair.input_ids, generation_config=GenerationConfig(max_new_tokens=8))
    assert torch.equal(by_object, pair.ours.generate(pair.input_ids, max_new_tokens=8))
    by_mapping = model.generate(pair.input_ids, generation_config={"max_new_tokens": 8})
    assert torch.equal(by_mapping, model.generate(pair.input_ids, max_new_tokens=8))
    assert not torch.equal(by_object, by_mapping)


def test_states_without_tokens_leave_out_what_is_about_tokens(pair: ModelPair) -> None:
    """As transformers: with a warning. Without a mask, all of the states are read."""
    states = pair.ours.model.encoder(pair.input_ids, pair.attention_mask)
    plain = pair.ours.generate(encoder_outputs=(states,), attention_mask=pair.attention_mask)
    assert torch.equal(plain, pair.ours.generate(pair.input_ids, pair.attention_mask))
    with pytest.warns(UserWarning, match="encoder_no_repeat_ngram_size has no effect without input_ids"):
        again = pair.ours.generate(
            encoder_outputs={"last_hidden_state": states},
            attention_mask=pair.attention_mask,
            encoder_no_repeat_ngram_size=1,
        )
    assert torch.equal(plain, again)
    with pytest.raises(InputError, match="give input_ids or encoder_outputs"):
        pair.ours.generate()


def test_the_callers_functions_see_every_sentence_at_its_place(pair: ModelPair) -> None:
    """Sentences that are done do not leave a batch whose rows the caller's functions know."""
    rows = set()

    def look(tokens: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        rows.add(len(scores))
        return scores

    sources = pair.input_ids.repeat(8, 1)
    for beams in (1, 3):
        pair.ours.generate(sources, num_beams=beams, max_length=30, logits_processor=[look])
    assert rows == {len(sources), 3 * len(sources)}


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
