"""The configurations hold the figures of the models that they are named after."""

from pathlib import Path

import pytest

from bart.configuration.configuration_bart import BartConfig

ROOT = Path(__file__).parents[2]
LARGE = {
    **{"d_model": 1024, "encoder_layers": 12, "decoder_layers": 12, "encoder_ffn_dim": 4096, "decoder_ffn_dim": 4096},
    **{"encoder_attention_heads": 16, "decoder_attention_heads": 16, "vocab_size": 50265},
    **{"max_position_embeddings": 1024, "activation_function": "gelu", "dropout": 0.1, "init_std": 0.02},
}
BASE = LARGE | {
    **{"d_model": 768, "encoder_layers": 6, "decoder_layers": 6, "encoder_ffn_dim": 3072, "decoder_ffn_dim": 3072},
    **{"encoder_attention_heads": 12, "decoder_attention_heads": 12},
}
TOKENS = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 2, "prefix": " "}
CNN_DM = {
    **{"num_beams": 4, "min_length": 56, "max_length": 142, "length_penalty": 2.0, "no_repeat_ngram_size": 3},
    **{"early_stopping": True, "forced_bos_token_id": 0, "forced_eos_token_id": 2},
}
DIALOGUE = CNN_DM | {"min_length": 5, "max_length": 100, "length_penalty": 1.0}
XSUM = CNN_DM | {
    **{"num_beams": 6, "min_length": 11, "max_length": 62, "length_penalty": 1.0, "forced_bos_token_id": None}
}


@pytest.mark.parametrize(
    ("name", "figures"),
    [
        *[("config", LARGE | CNN_DM), ("config_xsum", LARGE | XSUM), ("config_base", BASE | CNN_DM)],
        ("config_dialogue", LARGE | DIALOGUE),
        *[("config_tiny", {}), ("config_mini", {})],
    ],
)
def test_figures(name: str, figures: dict[str, object]) -> None:
    values = BartConfig.from_json_file(ROOT / "configs" / f"{name}.json").to_dict()
    expected = figures | TOKENS
    assert {key: values[key] for key in expected} == expected
