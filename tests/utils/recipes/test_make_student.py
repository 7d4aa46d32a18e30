"""A student's folder: its layers are the teacher's, and everything else too."""

import re
from pathlib import Path

import pytest
import torch
import transformers

from bart.modeling.modeling_bart import BartForConditionalGeneration
from bart.tokenization.tokenization_bart import BartTokenizer
from tests.commands import refusal
from tests.tiny_setup import tiny_config
from utils.checkpoint.export import save_model
from utils.checkpoint.student import layers_to_copy
from utils.io.json_files import read_json
from utils.recipes.make_student import make_student

LAYERS = {"encoder": 5, "decoder": 4}
_LAYER = re.compile(r"(model\.(encoder|decoder)\.layers\.)(\d+)(.*)")


@pytest.fixture(scope="module")
def teacher(tokenizer: BartTokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a results folder with a model, random and with a bias of its logits, as a folder and as a checkpoint."""
    torch.manual_seed(0)
    config = tiny_config().copy(encoder_layers=LAYERS["encoder"], decoder_layers=LAYERS["decoder"], init_std=0.3)
    model = BartForConditionalGeneration(config.copy(num_beams=3, length_penalty=0.5, dropout=0.2))
    model.final_logits_bias.normal_()
    results = tmp_path_factory.mktemp("results")
    save_model(model, tokenizer, results / "best_tfmr")
    tokenizer.save_pretrained(results / "tokenizer")
    state = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    torch.save({"state_dict": state, "hyper_parameters": {"config": model.config.to_dict()}}, results / "a.ckpt")
    return results


def logits(model: torch.nn.Module) -> torch.Tensor:
    ids = torch.arange(3, 27).view(2, 12)
    with torch.no_grad():
        return model.eval()(ids, attention_mask=torch.ones_like(ids), decoder_input_ids=ids.flip(1)).logits


@pytest.mark.parametrize("form", ["best_tfmr", "a.ckpt"])
def test_every_tensor_is_the_teachers(teacher: Path, tmp_path: Path, form: str) -> None:
    make_student(str(teacher / form), tmp_path / "student", 3, 2)
    theirs = BartForConditionalGeneration.from_pretrained(teacher / "best_tfmr").state_dict()
    ours = BartForConditionalGeneration.from_pretrained(tmp_path / "student").state_dict()
    counts = {"encoder": 3, "decoder": 2}

    def name_in_teacher(name: str) -> str:
        layer = _LAYER.fullmatch(name)
        if layer is None:
            return name
        before, side, number, after = layer.groups()
        return f"{before}{layers_to_copy(LAYERS[side], counts[side])[int(number)]}{after}"

    assert all(torch.equal(tensor, theirs[name_in_teacher(name)]) for name, tensor in ours.items())
    layers = {layer.groups()[:3] for layer in map(_LAYER.fullmatch, ours) if layer}
    assert len(layers) == 3 + 2
    assert {name for name in theirs if not _LAYER.fullmatch(name)} <= ours.keys()


def test_the_files_beside_the_weights_are_the_teachers(teacher: Path, tmp_path: Path) -> None:
    make_student(str(teacher / "best_tfmr"), tmp_path / "student", decoder_layers=2)
    files = {path.name: path.read_bytes() for path in (teacher / "best_tfmr").iterdir()}
    assert {path.name for path in (tmp_path / "student").iterdir()} == files.keys()
    for name in files.keys() - {"config.json", "model.safetensors"}:  # generation_config.json and the tokenizer
        assert (tmp_path / "student" / name).read_bytes() == files[name], name
    config = read_json(teacher / "best_tfmr" / "config.json")
    assert read_json(tmp_path / "student" / "config.json") == {**config, "decoder_layers": 2}


def test_transformers_computes_the_same(teacher: Path, tmp_path: Path) -> None:
    make_student(str(teacher / "best_tfmr"), tmp_path / "student", 2, 1)
    theirs = transformers.BartForConditionalGeneration.from_pretrained(tmp_path / "student")
    assert (len(theirs.model.encoder.layers), len(theirs.model.decoder.layers)) == (2, 1)
    ours = BartForConditionalGeneration.from_pretrained(tmp_path / "student")
    torch.testing.assert_close(logits(theirs), logits(ours), rtol=1e-4, atol=1e-4)
    teachers = logits(BartForConditionalGeneration.from_pretrained(teacher / "best_tfmr"))
    assert not torch.allclose(logits(ours), teachers, atol=0.1)


def test_all_layers_are_the_teacher(teacher: Path, tmp_path: Path) -> None:
    make_student(str(teacher / "best_tfmr"), tmp_path / "student", *LAYERS.values())
    folders = (teacher / "best_tfmr", tmp_path / "student")
    ours, theirs = (logits(BartForConditionalGeneration.from_pretrained(folder)) for folder in folders)
    assert torch.equal(ours, theirs)


def test_what_is_refused(teacher: Path, tmp_path: Path) -> None:
    """In one line, and nothing is written."""
    work, model = tmp_path / "work", str(teacher / "best_tfmr")
    (work / "mine").mkdir(parents=True)
    for arguments, said in (
        ([model, "student", "--decoder_layers", "5"], "--decoder_layers 5: the teacher has 4; give a number from 1 to"),
        ([model, "student", "--encoder_layers", "0"], "--encoder_layers"),
        ([model, "student"], "give --encoder_layers, --decoder_layers or both"),
        ([model, "mine", "--encoder_layers", "1"], "mine exists; give a new folder"),
        (["nowhere.ckpt", "student", "--encoder_layers", "1"], "nowhere.ckpt"),
    ):
        arguments[1] = str(work / arguments[1])
        line = refusal("utils/commands/make_student.py", arguments, tmp_path / "log")
        assert line.startswith("error: ") and said in line
        assert [path.name for path in work.iterdir()] == ["mine"]
