"""Search settings of published folders mean here what they mean in transformers: both load a folder and search with it.

The folders stand in for published ones: their files are written from the names and values that such files have.
"""

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from bart.configuration.configuration_bart import BartConfig
from bart.errors import InputError
from bart.modeling.modeling_bart import BartForConditionalGeneration
from tests.random_models import model_pair

TOKENS = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 2}
BEAMS = {"num_beams": 4, "max_length": 12, "length_penalty": 2.0, "early_stopping": True}
SAMPLED = {"do_sample": True, "max_length": 14}
SEARCHES: dict[str, dict[str, Any]] = {
    "nothing": {},
    "max_length null": {"max_length": None, "num_beams": 2},
    "max_new_tokens": {"max_new_tokens": 30},
    "both lengths": {"max_new_tokens": 7, "max_length": 25},
    "min_new_tokens": {"min_new_tokens": 9, "max_length": 25},
    "both least lengths": {"min_new_tokens": 8, "min_length": 3, "max_new_tokens": 12},
    "cnn": {**BEAMS, "min_length": 5, "no_repeat_ngram_size": 3, "forced_bos_token_id": 0, "forced_eos_token_id": 2},
    "forced end absent": {**BEAMS, "min_length": 12},
    "forced end null": {**BEAMS, "min_length": 12, "forced_eos_token_id": None},
    "forced end": {**BEAMS, "min_length": 12, "forced_eos_token_id": 2},
    "forced end in a list": {**BEAMS, "min_length": 12, "forced_eos_token_id": [2]},
    "forced end of two": {"max_length": 9, "min_length": 9, "forced_eos_token_id": [2, 30]},
    "forced begin": {**BEAMS, "forced_bos_token_id": 0},
    "forced begin in a list": {**BEAMS, "forced_bos_token_id": [0]},
    "forced begin of two": {**BEAMS, "forced_bos_token_id": [0, 30]},
    "old name of forced begin": {**BEAMS, "force_bos_token_to_be_generated": True},
    "old name that is false": {**BEAMS, "force_bos_token_to_be_generated": False},
    "converted": {**BEAMS, "force_bos_token_to_be_generated": True, "_from_model_config": True},
    "ends in a list": {**BEAMS, "eos_token_id": [2]},
    "several ends": {**BEAMS, "eos_token_id": [2, 11, 30]},
    "several ends, greedy": {"eos_token_id": [17, 2, 11], "max_length": 25},
    "no end": {**BEAMS, "eos_token_id": None},
    "another start": {**BEAMS, "decoder_start_token_id": 0},
    "begin in place of start": {**BEAMS, "decoder_start_token_id": None, "bos_token_id": 5},
    "no pad": {**BEAMS, "pad_token_id": None, "num_return_sequences": 3},
    "another pad": {**BEAMS, "pad_token_id": 9, "num_return_sequences": 3},
    "task_specific_params": {**BEAMS, "task_specific_params": {"summarization": {"num_beams": 1, "max_length": 5}}},
    "beams null": {"num_beams": None, "length_penalty": None, "max_length": 11},
    "misspelt": {"num_beams": 4, "max_length": 12, "early_stopping": True, "lenght_penalty": -4.0},
    "never": {**BEAMS, "early_stopping": "never", "length_penalty": 0.5},
    "suppress_tokens": {**BEAMS, "suppress_tokens": list(range(3, 30))},
    "begin_suppress_tokens": {**BEAMS, "begin_suppress_tokens": list(range(3, 40))},
    "encoder_repetition_penalty": {**BEAMS, "encoder_repetition_penalty": 0.4},
    "repetition_penalty": {**BEAMS, "repetition_penalty": 3.0},
    "exponential_decay_length_penalty": {"max_length": 30, "exponential_decay_length_penalty": [3, 1.5]},
    "renormalize_logits": {**BEAMS, "repetition_penalty": 0.5, "renormalize_logits": True},
    "sequence_bias": {**BEAMS, "sequence_bias": [[[7], 4.0], [[7, 8], 9.0]]},
    "bad_words_ids": {**BEAMS, "bad_words_ids": [[token] for token in range(3, 30)]},
    "sampled": {**SAMPLED, "top_k": 10, "temperature": 1.5},
    "sampled, top_p": {**SAMPLED, "top_k": 0, "top_p": 0.6},
    "sampled, min_p": {**SAMPLED, "min_p": 0.2},
    "sampled, typical_p": {**SAMPLED, "typical_p": 0.4},
    "settings of sampling alone": {"temperature": 0.3, "top_k": 3, "top_p": 0.5, "max_length": 12},
    "without effect": {**BEAMS, "use_cache": False, "output_attentions": False, "transformers_version": "4.30.0"},
}


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    model_pair(7, eos_bias=3.0).theirs.float().save_pretrained(folder)
    return folder


def write_folder(model_folder: Path, folder: Path, search: dict[str, Any], *, old: bool) -> None:
    """A folder as of before 2023, with all settings in config.json, or with a generation_config.json that beats it."""
    shape = json.loads((model_folder / "config.json").read_text())
    shape = {name: value for name, value in shape.items() if name not in TOKENS and name != "forced_eos_token_id"}
    search = {name: value for name, value in {**TOKENS, **search}.items() if value is not None or name not in TOKENS}
    (folder / "model.safetensors").symlink_to(model_folder / "model.safetensors")
    if old:
        (folder / "config.json").write_text(json.dumps({**shape, **search}))
    else:
        beaten = {**TOKENS, "num_beams": 3, "max_length": 40, "min_length": 33, "forced_eos_token_id": 2}
        (folder / "config.json").write_text(json.dumps({**shape, **beaten}))
        (folder / "generation_config.json").write_text(json.dumps(search))


@pytest.mark.parametrize("old", [True, False], ids=["config.json", "generation_config.json"])
@pytest.mark.parametrize("search", SEARCHES.values(), ids=SEARCHES)
def test_the_same_tokens(model_folder: Path, tmp_path: Path, search: dict[str, Any], old: bool) -> None:
    write_folder(model_folder, tmp_path, search, old=old)
    sources = model_pair(7)
    outputs = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ours = BartForConditionalGeneration.from_pretrained(tmp_path)
        theirs = transformers.BartForConditionalGeneration.from_pretrained(tmp_path)
        for model in (ours.double(), theirs.double().eval()):
            torch.manual_seed(0)
            outputs.append(model.generate(sources.input_ids, attention_mask=sources.attention_mask))
    assert outputs[0].tolist() == outputs[1].tolist()


def test_the_settings_matter(model_folder: Path, tmp_path: Path) -> None:
    """The searches above differ: else the comparison is blind to what is in the files."""
    written = set()
    for number, search in enumerate(SEARCHES.values()):
        folder = tmp_path / str(number)
        folder.mkdir()
        write_folder(model_folder, folder, search, old=False)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = BartForConditionalGeneration.from_pretrained(folder).double()
        torch.manual_seed(0)
        sources = model_pair(7)
        written.add(str(model.generate(sources.input_ids, sources.attention_mask).tolist()))
    assert len(written) > len(SEARCHES) / 2


@pytest.mark.parametrize("old", [True, False], ids=["config.json", "generation_config.json"])
@pytest.mark.parametrize(
    ("search", "said"),
    [
        ({"lenght_penalty": 2.0}, "lenght_penalty is unknown (did you mean length_penalty?)"),
        ({"num_beam": 4}, "num_beam is unknown (did you mean num_beams?)"),
        ({"stop_strings": ["."]}, "stop_strings=['.'] is not supported (give stopping_criteria)"),
        ({"guidance_scale": 1.5}, "guidance_scale=1.5 is not supported"),
        ({"epsilon_cutoff": 0.1, "eta_cutoff": 0.2}, "eta_cutoff=0.2 is not supported"),
    ],
)
def test_one_warning_names_what_is_not_heeded(
    model_folder: Path, tmp_path: Path, search: dict[str, Any], said: str, old: bool
) -> None:
    write_folder(model_folder, tmp_path, search, old=old)
    with pytest.warns(UserWarning) as warned:
        BartConfig.from_pretrained(tmp_path)
    (text,) = [str(warning.message) for warning in warned]
    assert said in text and "\n" not in text
    assert text.startswith(f"{tmp_path / ('config.json' if old else 'generation_config.json')}: ")


def test_usual_files_have_no_warning(model_folder: Path, tmp_path: Path) -> None:
    """Keys of published files, idle settings and all of transformers' defaults."""
    usual = {
        **{"activation_dropout": 0.1, "activation_function": "gelu", "add_bias_logits": False, "classif_dropout": 0.1},
        **{"classifier_dropout": 0.0, "extra_pos_embeddings": 2, "gradient_checkpointing": False, "output_past": False},
        **{"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}, "normalize_embedding": True, "num_labels": 3},
        **{"num_hidden_layers": 12, "prefix": " ", "static_position_embeddings": False, "save_step": 58},
        **{"torch_dtype": "float32", "use_cache": True, "architectures": [], "_num_labels": 3, "finetuning_task": None},
        **{"output_hidden_states": False, "num_attention_heads": 16, "is_decoder": False, "pruned_heads": {}},
        **{"task_specific_params": {}, "min_length": 12, "max_length": 62, "early_stopping": True, "num_beams": 4},
    }
    write_folder(model_folder, tmp_path, {}, old=False)
    shape = json.loads((tmp_path / "config.json").read_text())
    defaults = transformers.GenerationConfig(**transformers.GenerationConfig._get_default_generation_params())
    defaults.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({**shape, **usual}))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        BartConfig.from_pretrained(tmp_path)
        (tmp_path / "generation_config.json").unlink()
        BartConfig.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("search", "named"),
    [
        ({"eos_token_id": []}, "eos_token_id=[]"),
        ({"eos_token_id": [2, 900]}, "eos_token_id=[2, 900]"),
        ({"max_new_tokens": 0}, "max_new_tokens=0"),
        ({"max_length": "12"}, "max_length='12'"),
        ({"forced_bos_token_id": [5], "suppress_tokens": [4, 5]}, "forced_bos_token_id=5"),
        ({"suppress_tokens": 7}, "suppress_tokens=7"),
    ],
)
def test_impossible_settings_are_refused(
    model_folder: Path, tmp_path: Path, search: dict[str, Any], named: str
) -> None:
    write_folder(model_folder, tmp_path, search, old=False)
    with pytest.raises(InputError, match="configuration: ") as refusal:
        BartConfig.from_pretrained(tmp_path)
    assert named in str(refusal.value) and str(tmp_path) in str(refusal.value)


@pytest.mark.parametrize("old", [True, False], ids=["config.json", "generation_config.json"])
def test_a_refusal_names_the_file_of_the_setting(model_folder: Path, tmp_path: Path, old: bool) -> None:
    write_folder(model_folder, tmp_path, {"top_k": "many"}, old=old)
    with pytest.raises(InputError) as refused:
        BartConfig.from_pretrained(tmp_path)
    name = "config.json" if old else "generation_config.json"
    assert str(refused.value).startswith(f"{tmp_path / name}: ") and "top_k='many'" in str(refused.value)
