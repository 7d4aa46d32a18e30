"""Compares with transformers on small models with random weights, which both libraries read from one folder."""

import shutil
from pathlib import Path

import pytest
import torch

from bart.errors import InputError
from bart.modeling.modeling_bart import BartForConditionalGeneration
from bart.tokenization.tokenization_bart import BartTokenizer
from tests.fairseq_format import fairseq_weights, namespace, write_dictionary
from tests.tiny_setup import TinySetup, tiny_config, write_tiny_setup
from utils.checkpoint.export import save_model
from utils.commands.compare_with_transformers import CompareArguments, compare
from utils.recipes.compare_with_transformers import first_difference


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> TinySetup:
    """Write a data set, a tokenizer, and a model beside them."""
    folder = tmp_path_factory.mktemp("compared")
    setup = write_tiny_setup(folder)
    torch.manual_seed(0)
    model = BartForConditionalGeneration(tiny_config().copy(init_std=0.3)).eval()
    save_model(model, BartTokenizer.from_pretrained(setup.tokenizer), folder / "model")
    return setup


def arguments_of(setup: TinySetup, model: Path | str | None = None, **given: object) -> CompareArguments:
    model = model or setup.config.parent / "model"
    settings = {"max_source_length": 64, "device": "cpu", **given}
    return CompareArguments(str(model), str(setup.config), str(setup.data), **settings)


def test_the_same_tokens(setup: TinySetup, capsys: pytest.CaptureFixture[str]) -> None:
    compare(arguments_of(setup, eval_beams=3, eval_max_gen_length=12))
    said = capsys.readouterr().out
    assert said.startswith(f"{setup.config.parent / 'model'}, 7 texts: the same tokens as transformers 5.")
    assert said.count("\n") == 1


def test_other_tokens_end_with_a_code_and_say_where(
    setup: TinySetup, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From vocab.json and merges.txt, transformers 5 reads a mask differently than the published tokenizer does."""
    model, data = tmp_path / "model", tmp_path / "data"
    shutil.copytree(setup.config.parent / "model", model)
    (model / "tokenizer.json").unlink()
    data.mkdir()
    (data / "test.source").write_text("the parser\nthe <mask>\nan argument\n")
    with pytest.raises(SystemExit) as ended:
        compare(CompareArguments(str(model), str(setup.config), str(data), max_source_length=64, device="cpu"))
    assert ended.value.code == 1
    first, last = capsys.readouterr().out.splitlines()
    assert first.startswith("text 2: the text itself differs from token ") and "[399, 2]" in first
    assert "3 texts: 1 of 3 differ from transformers" in last


def test_the_place_of_a_difference() -> None:
    ours, theirs = ([0, 5, 2], [2, 0, 8, 9, 2]), ([0, 5, 2], [2, 0, 8, 2])
    expected = "text 4: its summary differs from token 4 on: here [9, 2], there [2]"
    assert first_difference(3, ours, theirs) == expected
    assert "the text itself differs from token 3 on: here [], there [2]" in first_difference(0, ([0, 5], []), ours)


def test_what_transformers_cannot_read_is_not_compared(
    setup: TinySetup, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = BartForConditionalGeneration.from_pretrained(setup.config.parent / "model")
    torch.save({"args": namespace(model), "model": fairseq_weights(model)}, tmp_path / "model.pt")
    write_dictionary(
        BartTokenizer.from_pretrained(setup.tokenizer).get_vocab(), setup.tokenizer / "merges.txt", tmp_path
    )
    compare(arguments_of(setup, tmp_path / "model.pt"))
    assert "model.pt: nothing is compared, transformers 5." in capsys.readouterr().out


def test_bad_input_is_one_line(setup: TinySetup, tmp_path: Path) -> None:
    for arguments, said in (
        (arguments_of(setup, "no/model/here"), "no/model/here: no such folder"),
        (arguments_of(setup, max_source_length=65), "--max_source_length 65: the model has 64 positions"),
        (arguments_of(setup, eval_max_gen_length=99), "max_length=99 exceeds the model's 64 positions"),
        (CompareArguments(str(tmp_path), str(setup.config), str(tmp_path)), "test.source: No such file"),
    ):
        with pytest.raises(InputError, match=said) as refused:
            compare(arguments)
        assert "\n" not in str(refused.value)
