"""A model with more positions than it has learnt: its tables, that it learns, that transformers reads it."""

import re
from pathlib import Path

import pytest
import torch
import transformers
from torch import Tensor

from bart.errors import InputError
from bart.modeling.modeling_bart import BartForConditionalGeneration
from tests.fairseq_format import fairseq_settings, fairseq_weights
from tests.tiny_setup import tiny_config

LEARNT, EXTENDED = 32, 128
CONFIG = tiny_config().copy(max_position_embeddings=LEARNT, init_std=0.1, dropout=0.0)
ANSWERS, FILLERS = (10, 18), (20, 40)  # ids from the first up to before the second
TIMES = 8  # that a text says its answer


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random model, a checkpoint of it, and the same as fairseq writes it."""
    torch.manual_seed(0)
    model, folder = BartForConditionalGeneration(CONFIG), tmp_path_factory.mktemp("model")
    model.save_pretrained(folder)
    state = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    torch.save({"state_dict": state, "hyper_parameters": {"config": CONFIG.to_dict()}}, folder / "a.ckpt")
    cfg = {"model": fairseq_settings(model)}
    torch.save({"args": None, "cfg": cfg, "model": fairseq_weights(model)}, folder / "model.pt")
    return folder


@pytest.mark.parametrize("form", ["", "a.ckpt", "model.pt"])
@pytest.mark.parametrize("positions", [LEARNT + 1, EXTENDED, 3 * LEARNT - 5])
def test_the_learnt_rows_are_repeated_and_the_unused_ones_are_not(stored: Path, form: str, positions: int) -> None:
    before = BartForConditionalGeneration.from_pretrained(stored / form)
    model = BartForConditionalGeneration.from_pretrained(stored / form, max_positions=positions)
    assert model.config == before.config.copy(max_position_embeddings=positions)
    old = before.state_dict()
    for name, tensor in model.state_dict().items():
        if "embed_positions" not in name:
            assert torch.equal(tensor, old[name])
            continue
        assert len(tensor) == positions + 2
        rows = [0, 1, *(2 + position % LEARNT for position in range(positions))]
        assert torch.equal(tensor, old[name][rows])
    ids = torch.arange(3, 3 + LEARNT)[None]
    assert torch.equal(model(ids).logits, before(ids).logits)


def test_a_configuration_is_given_the_positions(stored: Path) -> None:
    """Of the model or of the result; anything else about the shape still has to fit."""
    for positions in (LEARNT, EXTENDED):
        config = CONFIG.copy(max_position_embeddings=positions, num_beams=7)
        model = BartForConditionalGeneration.from_pretrained(stored, config, max_positions=EXTENDED)
        assert model.config == config.copy(max_position_embeddings=EXTENDED)
    with pytest.raises(InputError, match=r"the model has d_model 32 \(given: 64\); give"):
        BartForConditionalGeneration.from_pretrained(stored, config.copy(d_model=64), max_positions=EXTENDED)


def test_what_is_refused(stored: Path) -> None:
    model = BartForConditionalGeneration.from_pretrained(stored)
    with pytest.raises(InputError, match=r"33 tokens exceeds max_position_embeddings=32; .* with max_positions"):
        model(torch.full((1, LEARNT + 1), 5))
    with pytest.raises(InputError, match=re.escape("max_positions=31: the model has 32 positions, and none are")):
        BartForConditionalGeneration.from_pretrained(stored, max_positions=LEARNT - 1)
    with pytest.raises(InputError, match=r"given: 128"):
        BartForConditionalGeneration.from_pretrained(stored, CONFIG.copy(max_position_embeddings=EXTENDED))
    same = BartForConditionalGeneration.from_pretrained(stored, max_positions=LEARNT)
    assert same.config == CONFIG


def make_batch(examples: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Make sources (B, 128), whose answer stands only behind the learnt positions, and labels (B, 3) with it."""
    sources = torch.randint(*FILLERS, (examples, EXTENDED), generator=generator)
    answers = torch.randint(*ANSWERS, (examples, 1), generator=generator)
    places = torch.randint(LEARNT, EXTENDED - 1, (examples, TIMES), generator=generator)
    sources.scatter_(1, places, answers.expand(-1, TIMES))
    sources[:, 0], sources[:, -1] = 0, 2
    return sources, torch.cat([torch.zeros_like(answers), answers, torch.full_like(answers, 2)], 1)


def exact_share(model: BartForConditionalGeneration) -> float:
    sources, labels = make_batch(64, torch.Generator().manual_seed(9))
    outputs = model.eval().generate(sources, num_beams=1, max_length=4, min_length=4, forced_bos_token_id=0)
    return float((outputs[:, 1:] == labels).all(1).double().mean())


def test_it_learns_what_stands_behind_the_learnt_positions(stored: Path, tmp_path: Path) -> None:
    """With the layers computed again; transformers computes the same of what is written."""
    torch.manual_seed(0)
    model = BartForConditionalGeneration.from_pretrained(stored, max_positions=EXTENDED)
    assert exact_share(model) < 0.2
    model.enable_gradient_checkpointing()
    optimizer, generator = torch.optim.AdamW(model.parameters(), lr=5e-3), torch.Generator().manual_seed(1)
    for _ in range(100):
        sources, labels = make_batch(16, generator)
        optimizer.zero_grad()
        (model.train().loss_sum(sources, None, labels) / labels.numel()).backward()
        optimizer.step()
    assert exact_share(model) > 0.95
    table = model.model.encoder.embed_positions.weight[2:]
    assert not torch.equal(table[:LEARNT], table[LEARNT : 2 * LEARNT])

    model.save_pretrained(tmp_path)
    theirs = transformers.BartForConditionalGeneration.from_pretrained(tmp_path).eval()
    assert theirs.config.max_position_embeddings == EXTENDED
    sources, labels = make_batch(4, generator)
    with torch.no_grad():
        ours = BartForConditionalGeneration.from_pretrained(tmp_path)(sources, labels=labels).logits
        torch.testing.assert_close(ours, theirs(sources, labels=labels).logits, rtol=1e-4, atol=1e-4)
