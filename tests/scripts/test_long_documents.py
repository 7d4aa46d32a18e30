"""The measurement of long documents: its texts, and all of it on a small model."""

import random
from pathlib import Path

import pytest
import torch
from torch import nn

from bart.errors import InputError
from bart.modeling.modeling_bart import BartForConditionalGeneration
from bart.tokenization.tokenization_bart import BartTokenizer
from scripts.benchmark.long_documents import LongDocumentsArguments, length_line, make_texts, measure
from utils.checkpoint.export import save_model
from utils.io.json_files import read_json

MINI = Path(__file__).parents[2] / "models" / "bart_mini"
POSITIONS = 64  # of a model that is cut from it


@pytest.mark.parametrize("rumours", [0, 2])
def test_the_answer_stands_behind_the_given_token(rumours: int) -> None:
    tokenizer, lengths = BartTokenizer.from_pretrained(MINI), [300, 400, 219, 500] * 5
    pairs = list(make_texts(iter(lengths), 99, rumours, tokenizer, random.Random(0)))
    for (text, answer), length in zip(pairs, lengths, strict=True):
        assert length - 40 * (1 + rumours) - 20 < len(tokenizer(f" {text}")["input_ids"]) <= length
        before, secret = text.split(" The secret is ")
        assert secret.startswith(f"{answer} .")
        assert len(tokenizer(f" {before}", add_special_tokens=False)["input_ids"]) >= 99
        assert before.count("The rumour is ") == rumours and "The rumour is " not in secret
    assert len({answer for _, answer in pairs}) > 10
    assert pairs == list(make_texts(iter(lengths), 99, rumours, tokenizer, random.Random(0)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"lengths": "1024,many"}, "--lengths many: give none, or numbers from 80 to 16384"),
        ({"lengths": "16385"}, "--lengths 16385: give none"),
        ({"stages": "512"}, "--stages 512: give none, or lengths from 100 to 4096, and 2 steps or more, such"),
        ({"stages": "99x2"}, "--stages 99x2: give none, or lengths"),
        ({"stages": "512x1"}, "--stages 512x1: give none, or lengths"),
        ({"stages": "1152x2,512x2"}, "--stages 1152x2,512x2: give the shortest texts first"),
        ({"answer_behind": 4017}, "--answer_behind 4017: the texts would be too long; give 4016 or less"),
    ],
)
def test_what_is_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        LongDocumentsArguments(**arguments).check()


def test_the_answer_must_be_out_of_reach() -> None:
    with pytest.raises(InputError, match="--answer_behind 511: the model has 512 positions; give that or more"):
        measure(LongDocumentsArguments(model=str(MINI), answer_behind=511))


def test_what_does_not_fit_is_a_line() -> None:
    figures = {"length": 16_384, "gradient_checkpointing": False, "refused": "error: out of memory: ..."}
    assert length_line(figures).split() == ["16,384", "tokens,", "all", "kept", "out", "of", "memory"]


@pytest.mark.slow
def test_all_of_it_on_a_small_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, tokenizer = BartForConditionalGeneration.from_pretrained(MINI), BartTokenizer.from_pretrained(MINI)
    for side in (model.model.encoder, model.model.decoder):
        side.embed_positions.weight = nn.Parameter(side.embed_positions.weight[: POSITIONS + 2].clone())
    model.config = model.config.copy(max_position_embeddings=POSITIONS)
    save_model(model, tokenizer, tmp_path / "model")
    torch.manual_seed(0)
    measure(
        LongDocumentsArguments(
            model=str(tmp_path / "model"), max_positions=192, answer_behind=POSITIONS, examples=800, test_examples=40,
            stages="128x100", steps=100, lengths="128,192", length_steps=3, json=str(tmp_path / "report.json"),
        )
    )  # fmt: skip
    report = read_json(tmp_path / "report.json")
    untrained, cut, extended = report["exact"].values()
    assert untrained == 0 and cut < 0.2 and extended > 0.8
    assert report["largest_difference"] < 1e-9
    assert [figures["length"] for figures in report["lengths"]] == [128, 128, 192, 192]
    assert all(figures["seconds_per_step"] > 0 and figures["peak_memory_gb"] > 0 for figures in report["lengths"])
    assert capsys.readouterr().out.count("s a step") == 4
