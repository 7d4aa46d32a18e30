"""What docs/first_token.md says of the first token: in training, in the presets' configurations and in the search."""

import re
from pathlib import Path

import pytest
import torch

from bart.configuration.configuration_bart import BartConfig
from bart.modeling.modeling_bart import IGNORE_INDEX, BartForConditionalGeneration, shift_tokens_right
from bart.tokenization.tokenization_bart import BartTokenizer
from tests.tiny_setup import TinySetup, tiny_config
from utils.checkpoint.export import save_model
from utils.cli.training_args import OptimizationSettings
from utils.data.batch import BatchDataset, BatchIndices
from utils.data.examples import Origin, PairExamples
from utils.data.splits import scan_split
from utils.data.tokens.pair_cache import TokenLimits, prepare_pairs
from utils.training.optimization import build_optimizer

ROOT = Path(__file__).parents[2]
BOS, PAD, EOS = 0, 1, 2


def labels_of(setup: TinySetup, tokenizer: BartTokenizer) -> torch.Tensor:
    """Those of a few pairs of the training split, as a training has them."""
    prepared = prepare_pairs(scan_split(setup.data, "train"), tokenizer, TokenLimits(" ", 64, 16))
    examples = PairExamples(prepared.sources, prepared.targets, Origin(setup.data, prepared.lines))
    rows = torch.arange(8).numpy()
    return BatchDataset(examples, PAD, 64)[BatchIndices(rows, step_target_tokens=1)].labels


def test_a_target_is_learnt_from_its_first_token_on(setup: TinySetup, tokenizer: BartTokenizer) -> None:
    """The decoder reads </s> <s> text, and learns <s> text </s>."""
    labels = labels_of(setup, tokenizer)
    inputs = shift_tokens_right(labels, PAD, tiny_config().decoder_start_token_id)
    assert (labels[:, 0] == BOS).all() and (inputs[:, 0] == EOS).all() and (inputs[:, 1] == BOS).all()
    for row in labels.tolist():
        text = [token for token in row if token != IGNORE_INDEX]
        assert text[-1] == EOS and text.count(BOS) == text.count(EOS) == 1


@pytest.mark.parametrize(
    ("name", "forced"),
    [
        *[("config.json", BOS), ("config_base.json", BOS)],
        *[("config_xsum.json", None), ("config_mini.json", None), ("config_tiny.json", None)],
    ],
)
def test_the_configurations(name: str, forced: int | None) -> None:
    config = BartConfig.from_json_file(ROOT / "configs" / name)
    assert (config.bos_token_id, config.eos_token_id, config.decoder_start_token_id) == (BOS, EOS, EOS)
    assert (config.forced_bos_token_id, config.forced_eos_token_id) == (forced, EOS)


@pytest.mark.parametrize("num_beams", [1, 3])
def test_what_is_forced_in_the_search(num_beams: int) -> None:
    torch.manual_seed(0)
    model = BartForConditionalGeneration(tiny_config().copy(init_std=0.3)).eval()
    model.final_logits_bias[0, BOS] = -1000.0  # it would never choose it
    source = torch.randint(4, 400, (4, 12))
    forced = model.generate(source, num_beams=num_beams, forced_bos_token_id=BOS)
    free = model.generate(source, num_beams=num_beams)
    assert (forced[:, 0] == EOS).all() and (forced[:, 1] == BOS).all() and not (forced[:, 2:] == BOS).any()
    assert (free[:, 0] == EOS).all() and not (free == BOS).any()


def test_the_remedy_of_the_document(tokenizer: BartTokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its lines run, and change the row of <s> alone."""
    document = (ROOT / "docs" / "first_token.md").read_text(encoding="utf-8")
    (lines,) = re.findall(r"```python\n(.*?)```", document, re.DOTALL)
    model = BartForConditionalGeneration(tiny_config()).eval()
    save_model(model, tokenizer, tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    exec(lines.replace("facebook/bart-large", "model"))
    changed = BartForConditionalGeneration.from_pretrained("bart_large_other_row").state_dict()
    for name, tensor in model.state_dict().items():
        differs = (tensor != changed[name]).flatten(1).any(1) if tensor.dim() > 1 else (tensor != changed[name]).any()
        expected = [0] if changed[name].shape[0] == 400 else []
        assert differs.nonzero().flatten().tolist() == expected, name
    assert BartTokenizer.from_pretrained("bart_large_other_row").get_vocab() == tokenizer.get_vocab()


def test_a_trained_model_begins_with_it_unforced(setup: TinySetup, tokenizer: BartTokenizer) -> None:
    """After a hundred steps on a few texts, with frozen embeddings as the recipe has them."""
    torch.manual_seed(0)
    model = BartForConditionalGeneration(tiny_config().copy(init_std=0.3, dropout=0.0)).train()
    for embedding in (model.model.shared, model.model.encoder.embed_positions, model.model.decoder.embed_positions):
        embedding.requires_grad_(False)
    labels = labels_of(setup, tokenizer)
    mask = labels != IGNORE_INDEX
    source = labels.masked_fill(~mask, PAD)
    optimizer = build_optimizer(model, OptimizationSettings(learning_rate=3e-3, weight_decay=0.0))
    for _ in range(100):
        model.loss_sum(source, mask, labels).div(mask.sum()).backward()
        optimizer.step()
        optimizer.zero_grad()
    written = model.eval().generate(source, mask, num_beams=2)
    assert (written[:, 1] == BOS).all() and not (written[:, 2:] == BOS).any()
