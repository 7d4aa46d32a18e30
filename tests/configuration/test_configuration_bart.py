"""BartConfig: the reference's files and those of transformers in, impossible values out."""

import json
from pathlib import Path

import pytest
import transformers

from bart.configuration.configuration_bart import BartConfig
from bart.configuration.generation_config import DEFAULT_NEW_TOKENS
from bart.errors import InputError

# Keys as the reference recipe's and Hugging Face's files of 2020 have them.
REFERENCE = {
    "architectures": ["BartModel", "BartForConditionalGeneration"],
    "activation_dropout": 0.0,
    "activation_function": "gelu",
    "add_bias_logits": False,
    "add_final_layer_norm": False,
    "classif_dropout": 0.0,
    "d_model": 1024,
    "early_stopping": True,
    "extra_pos_embeddings": 2,
    "force_bos_token_to_be_generated": True,
    "id2label": {"0": "LABEL_0"},
    "is_encoder_decoder": True,
    "length_penalty": 2.0,
    "max_length": 142,
    "min_length": 56,
    "no_repeat_ngram_size": 3,
    "normalize_before": False,
    "normalize_embedding": True,
    "num_beams": 4,
    "num_hidden_layers": 12,
    "prefix": " ",
    "static_position_embeddings": False,
    "task_specific_params": {"summarization": {"num_beams": 4}},
    "vocab_size": 50264,
}


def test_the_references_file() -> None:
    config = BartConfig(**REFERENCE)
    assert (config.vocab_size, config.num_beams, config.min_length, config.max_length) == (50264, 4, 56, 142)
    assert (config.length_penalty, config.no_repeat_ngram_size, config.early_stopping) == (2.0, 3, True)
    assert (config.forced_bos_token_id, config.forced_eos_token_id, config.prefix) == (0, 2, " ")
    assert config.encoder_layers == 12 and config.encoder_ffn_dim == 4096


def test_the_defaults_are_those_of_transformers() -> None:
    ours, theirs = BartConfig(), transformers.BartConfig()
    shared = [name for name in ours.to_dict() if hasattr(theirs, name) and name not in ours.search_settings()]
    assert len(shared) > 18
    assert {name: getattr(ours, name) for name in shared} == {name: getattr(theirs, name) for name in shared}
    defaults = transformers.GenerationConfig._get_default_generation_params()
    assert defaults.pop("max_length") == DEFAULT_NEW_TOKENS
    unset = transformers.GenerationConfig()
    searched = ours.search_settings()
    assert (searched.pop("max_length"), searched.pop("forced_eos_token_id")) == (None, 2)
    theirs_searched = {name: defaults.get(name, getattr(unset, name)) for name in searched}
    # A flag that is unset there is False here.
    assert searched == {name: False if searched[name] is False else value for name, value in theirs_searched.items()}
    assert not any(theirs_searched[name] for name, value in searched.items() if value is False)


def test_a_folder_of_transformers(tmp_path: Path) -> None:
    transformers.BartConfig(d_model=32, encoder_attention_heads=4, decoder_attention_heads=4).save_pretrained(tmp_path)
    transformers.GenerationConfig(num_beams=6, max_length=62, early_stopping="never").save_pretrained(tmp_path)
    config = BartConfig.from_pretrained(tmp_path)
    assert (config.d_model, config.num_beams, config.max_length, config.early_stopping) == (32, 6, 62, "never")
    assert config.forced_eos_token_id is None  # generation_config.json does not force it


def test_without_generation_config_the_search_is_in_config_json(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(REFERENCE))
    assert BartConfig.from_pretrained(tmp_path).num_beams == 4


def test_what_is_saved_is_read_again(tmp_path: Path) -> None:
    config = BartConfig(**{**REFERENCE, "bad_words_ids": [[5, 6]], "scale_embedding": True, "dropout": 0.25})
    config.save_pretrained(tmp_path)
    assert BartConfig.from_pretrained(tmp_path) == config
    (tmp_path / "flat.json").write_text(json.dumps(config.to_dict()))
    assert BartConfig.from_json_file(tmp_path / "flat.json") == config
    assert BartConfig.from_json_file(tmp_path / "flat.json") != config.copy(num_beams=5)


def test_fields_can_be_assigned() -> None:
    config = BartConfig(**REFERENCE)
    config.fp16 = True
    assert config.fp16 and config.to_dict()["fp16"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("d_model", 0),
        ("d_model", 1000),  # 16 heads do not divide it
        ("d_model", "1024"),
        ("encoder_layers", 0),
        ("vocab_size", 50265.0),
        ("pad_token_id", 60000),
        ("eos_token_id", []),
        ("eos_token_id", [2, 60000]),
        ("dropout", 1.5),
        ("attention_dropout", -0.1),
        ("activation_function", "silu"),
        ("init_std", 0),
        ("scale_embedding", "no"),
        ("prefix", 1),
        ("num_beams", 0),
        ("length_penalty", "2"),
        ("early_stopping", "maybe"),
        ("normalize_before", True),
        ("model_type", "mbart"),
        ("tie_word_embeddings", False),
    ],
)
def test_impossible_values_are_refused_by_name(field: str, value: object, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"configuration: .*{field}=") as refusal:
        BartConfig(**{field: value})
    assert "\n" not in str(refusal.value)
    (tmp_path / "config.json").write_text(json.dumps({field: value}))
    with pytest.raises(InputError, match=r"config\.json: configuration: "):
        BartConfig.from_json_file(tmp_path / "config.json")


@pytest.mark.parametrize("content", ["", "[1]", "{"])
def test_files_that_hold_no_configuration_are_named(content: str, tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text(content)
    with pytest.raises(InputError, match=r"c\.json"):
        BartConfig.from_json_file(tmp_path / "c.json")
    with pytest.raises(InputError, match=r"d\.json: no such file"):
        BartConfig.from_json_file(tmp_path / "d.json")
