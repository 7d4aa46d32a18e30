"""Weights in and out: Hugging Face folders, hub ids and checkpoints, whole or faulty."""

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from bart.checkpoints.weights import StoredModel
from bart.configuration.configuration_bart import BartConfig
from bart.errors import InputError
from bart.modeling.modeling_bart import BartForConditionalGeneration
from tests.loopback_hub import LoopbackHub
from tests.random_models import ModelPair, model_pair


@pytest.fixture(scope="module")
def pair() -> ModelPair:
    pair = model_pair(6, eos_bias=2.0)
    pair.theirs.float()
    pair.ours.float()
    return pair


@pytest.fixture
def folder(pair: ModelPair, tmp_path: Path) -> Path:
    """A folder that transformers wrote."""
    pair.theirs.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def same_weights(model: BartForConditionalGeneration, pair: ModelPair) -> bool:
    expected = pair.ours.state_dict()
    return all(torch.equal(tensor, expected[name]) for name, tensor in model.state_dict().items())


def write_checkpoint(model: BartForConditionalGeneration, path: Path) -> Path:
    state = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    torch.save({"state_dict": state, "hyper_parameters": {"config": model.config.to_dict()}}, path)
    return path


def test_reads_what_transformers_writes(pair: ModelPair, folder: Path) -> None:
    model = BartForConditionalGeneration.from_pretrained(folder)
    assert same_weights(model, pair)
    assert not model.training and all(parameter.requires_grad for parameter in model.parameters())
    assert model.model.encoder.embed_tokens.weight is model.model.shared.weight
    assert model.model.decoder.embed_tokens.weight is model.model.shared.weight


def test_reads_half_precision_as_float32(pair: ModelPair, tmp_path: Path) -> None:
    half = model_pair(6, eos_bias=2.0).theirs.to(torch.bfloat16)
    half.save_pretrained(tmp_path / "half")
    model = BartForConditionalGeneration.from_pretrained(tmp_path / "half")
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_reads_bin_and_shards(pair: ModelPair, folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(tensors, folder / "pytorch_model.bin")
    assert same_weights(BartForConditionalGeneration.from_pretrained(folder), pair)

    (folder / "pytorch_model.bin").unlink()
    names = sorted(tensors)
    parts = {"part-1.safetensors": names[::2], "part-2.safetensors": names[1::2]}
    for file, part in parts.items():
        save_file({name: tensors[name] for name in part}, folder / file)
    index = {"weight_map": {name: file for file, part in parts.items() for name in part}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert same_weights(BartForConditionalGeneration.from_pretrained(folder), pair)
    (folder / "part-2.safetensors").unlink()
    with pytest.raises(InputError, match=r"index\.json: names part-2\.safetensors"):
        BartForConditionalGeneration.from_pretrained(folder)


def test_reads_a_checkpoint_of_this_project(pair: ModelPair, tmp_path: Path) -> None:
    path = write_checkpoint(pair.ours, tmp_path / "_epoch1_step2.ckpt")
    model = BartForConditionalGeneration.from_pretrained(path)
    assert same_weights(model, pair) and model.config == pair.ours.config
    path.unlink()  # the weights do not live in the file
    assert same_weights(model, pair)


def test_a_given_configuration_takes_the_place_of_the_stored_one(pair: ModelPair, folder: Path) -> None:
    config = pair.ours.config.copy(num_beams=3, dropout=0.3)
    assert BartForConditionalGeneration.from_pretrained(folder, config=config).config is config


def test_a_given_configuration_of_another_shape_is_refused_by_its_fields(pair: ModelPair, folder: Path) -> None:
    """Heads, too, although the tensors would fit."""
    shape = {"d_model": 8 * pair.ours.config.d_model, "encoder_attention_heads": 1, "decoder_attention_heads": 8}
    ours = pair.ours.config.copy(**shape, decoder_layers=7)
    for path in (folder, write_checkpoint(pair.ours, folder / "_epoch0_step1.ckpt")):
        with pytest.raises(InputError) as refusal:
            BartForConditionalGeneration.from_pretrained(path, ours)
        found = pair.ours.config
        assert str(refusal.value).startswith(
            f"{path}: the model has d_model {found.d_model} (given: {ours.d_model}), decoder_layers "
            f"{found.decoder_layers} (given: 7), encoder_attention_heads {found.encoder_attention_heads} (given: 1), "
        )
    other_heads = pair.ours.config.copy(encoder_attention_heads=2 * pair.ours.config.encoder_attention_heads)
    with pytest.raises(InputError, match=r"the model has encoder_attention_heads \d+ \(given: \d+\); give"):
        BartForConditionalGeneration.from_pretrained(folder, other_heads)


def test_the_models_own_numbers_of_layers_and_positions_may_count(
    pair: ModelPair, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With a warning if they differ; any other difference is refused."""
    own = {name: getattr(pair.ours.config, name) for name in ("encoder_layers", "decoder_layers")}
    given = pair.ours.config.copy(encoder_layers=7, decoder_layers=8, max_position_embeddings=9, num_beams=3)
    assert StoredModel(folder).config_for(given, own_sizes=True) == pair.ours.config.copy(num_beams=3)
    assert f"decoder_layers {own['decoder_layers']} (given: 8): the model's own numbers count" in caplog.text
    assert "max_position_embeddings" in caplog.text
    caplog.clear()
    assert StoredModel(folder).config_for(pair.ours.config, own_sizes=True) is pair.ours.config and not caplog.text
    with pytest.raises(InputError, match=r"the model has encoder_ffn_dim \d+ \(given: 7\); give"):
        StoredModel(folder).config_for(given.copy(encoder_ffn_dim=7), own_sizes=True)


def test_transformers_reads_what_we_write_and_generates_the_same(pair: ModelPair, tmp_path: Path) -> None:
    search = {"num_beams": 3, "max_length": 15, "min_length": 4, "no_repeat_ngram_size": 2, "length_penalty": 2.0}
    search |= {"forced_bos_token_id": 0, "forced_eos_token_id": 2, "early_stopping": True}
    ours = BartForConditionalGeneration(pair.ours.config.copy(**search)).eval()
    ours.load_state_dict(pair.ours.state_dict())
    ours.save_pretrained(tmp_path / "saved")
    theirs, report = transformers.BartForConditionalGeneration.from_pretrained(
        tmp_path / "saved", output_loading_info=True
    )
    assert not report["missing_keys"] and not report["unexpected_keys"] and not report["mismatched_keys"]
    expected = theirs.generate(pair.input_ids, attention_mask=pair.attention_mask)
    again = BartForConditionalGeneration.from_pretrained(tmp_path / "saved")
    assert again.config == ours.config
    for model in (ours, again):
        assert torch.equal(model.generate(pair.input_ids, pair.attention_mask), expected)
    assert expected.size(1) > 5


LOAD_FROM_HUB = """
import sys
from bart.errors import InputError
from bart.modeling.modeling_bart import BartForConditionalGeneration
for name in sys.argv[1:]:
    try:
        model = BartForConditionalGeneration.from_pretrained(name)
        print(float(model.final_logits_bias.double().sum()), model.config.num_beams)
    except InputError as error:
        print("error:", error)
"""


def load_from_hub(hub: LoopbackHub, cache: Path, *names: str) -> list[str]:
    environment = {**os.environ, **hub.environment(cache), "PYTHONPATH": os.getcwd()}
    command = [sys.executable, "-c", LOAD_FROM_HUB, *names]
    process = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert process.returncode == 0, process.stderr
    return process.stdout.splitlines()


def test_reads_a_hub_id_and_later_works_without_the_hub(pair: ModelPair, tmp_path: Path) -> None:
    pair.theirs.generation_config.num_beams = 5
    pair.theirs.save_pretrained(tmp_path / "hub" / "team" / "bart")
    pair.theirs.generation_config.num_beams = 1
    (tmp_path / "hub" / "team" / "empty").mkdir()
    (tmp_path / "hub" / "team" / "empty" / "readme").write_text("nothing here")
    expected = f"{float(pair.ours.final_logits_bias.double().sum())} 5"
    with LoopbackHub(tmp_path / "hub") as hub:
        lines = load_from_hub(hub, tmp_path / "cache", "team/bart", "team/none", "team/empty")
        assert lines[0] == expected
        assert lines[1].startswith("error: team/none: no such folder or file here, and no such model on the hub")
        assert lines[2].startswith("error: team/empty: no config.json there")
        hub.close()
        lines = load_from_hub(hub, tmp_path / "cache", "team/bart", "team/other")
    assert lines[0] == expected
    assert lines[1].startswith("error: team/other: no such folder or file here, and the hub cannot be reached")


def drop_tensor(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.encoder.layers.0.fc1.weight"]
    save_file(tensors, folder / "model.safetensors")


def add_tensor(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    save_file({**tensors, "model.encoder.layer_norm.weight": torch.ones(3)}, folder / "model.safetensors")


def grow_vocabulary(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "vocab_size": config["vocab_size"] + 1}))


def untie_output_layer(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors["lm_head.weight"] = tensors["model.shared.weight"] + 1
    save_file(tensors, folder / "model.safetensors")


def cut_weights(folder: Path) -> None:
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[: len(content) // 2])


def remove_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def break_config(folder: Path) -> None:
    (folder / "config.json").write_text("{")


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (drop_tensor, r"lacks model\.encoder\.layers\.0\.fc1\.weight"),
        (add_tensor, r"has tensors that this model does not have: model\.encoder\.layer_norm\.weight"),
        (grow_vocabulary, r"(model\.shared\.weight|final_logits_bias) is \(.*the configuration says"),
        (untie_output_layer, r"lm_head\.weight differs from model\.shared\.weight"),
        (cut_weights, r"not a readable safetensors file"),
        (remove_weights, r"neither model\.safetensors nor pytorch_model\.bin"),
        (break_config, r"config\.json is not JSON"),
    ],
)
def test_faulty_folders_are_refused_in_one_line(folder: Path, fault, message: str) -> None:
    fault(folder)
    with pytest.raises(InputError, match=message) as refusal:
        BartForConditionalGeneration.from_pretrained(folder)
    assert str(folder) in str(refusal.value) and "\n" not in str(refusal.value)


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere/model", "nowhere/_epoch1_step2.ckpt", "a/b/c"])
def test_paths_that_are_not_there_do_not_go_to_the_hub(name: str) -> None:
    with pytest.raises(InputError, match="no such folder or file here; give"):
        BartForConditionalGeneration.from_pretrained(name)


class Gadget:
    """Unpickled without care, this writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("kind", ["checkpoint", "bin"])
def test_hostile_pickles_are_not_run(folder: Path, kind: str, tmp_path: Path) -> None:
    proof = tmp_path / "proof"
    if kind == "bin":
        (folder / "model.safetensors").unlink()
        path, name = folder / "pytorch_model.bin", folder
    else:
        path = name = tmp_path / "_epoch0_step1.ckpt"
    torch.save({"state_dict": Gadget(proof)}, path)
    with pytest.raises(InputError, match="holds more than tensors, or is damaged; nothing of it was run"):
        BartForConditionalGeneration.from_pretrained(name)
    assert not proof.exists()
    pickle.loads(pickle.dumps(Gadget(proof)))  # the gadget does work
    assert proof.exists()


def test_a_cut_checkpoint_is_refused(pair: ModelPair, tmp_path: Path) -> None:
    path = write_checkpoint(pair.ours, tmp_path / "_epoch1_step2.ckpt")
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(InputError, match=r"_epoch1_step2\.ckpt"):
        BartForConditionalGeneration.from_pretrained(path)


def test_the_specifications_example(pair: ModelPair, tmp_path: Path) -> None:
    """`config.fp16 = False` before the model is loaded with that configuration."""
    path = write_checkpoint(pair.ours, tmp_path / "_epoch1_step2000.ckpt")
    (tmp_path / "config.json").write_text(json.dumps(pair.ours.config.to_dict()))
    with open(tmp_path / "config.json") as file:
        config = BartConfig(**json.load(file))
    config.fp16 = False
    model = BartForConditionalGeneration.from_pretrained(str(path), config=config)
    summary_ids = model.generate(
        pair.input_ids,
        num_beams=4,
        max_length=50,
        num_beam_groups=1,
        output_scores=False,
        return_dict_in_generate=False,
        encoder_no_repeat_ngram_size=0,
        diversity_penalty=0.0,
        early_stopping=True,
    )
    assert summary_ids.shape[0] == len(pair.input_ids)
