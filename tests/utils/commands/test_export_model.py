"""Sees that an exported folder is the same model in transformers and, for greedy search, in CTranslate2."""

import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
import transformers

from bart.errors import InputError
from bart.modeling.modeling_bart import BartForConditionalGeneration
from bart.tokenization.tokenization_bart import BartTokenizer
from tests.commands import ROOT
from tests.fairseq_format import fairseq_weights, namespace, write_dictionary
from tests.generation.random_searches import DEFAULTS, random_settings
from tests.tiny_setup import TinySetup, tiny_config
from utils.checkpoint.export import save_model
from utils.io.json_files import read_json, write_json
from utils.recipes.export_model import export_model

SEARCHES = 320
PREFIX = " "


@pytest.fixture(scope="module")
def model() -> BartForConditionalGeneration:
    """Make a random model with weights large enough for outputs that differ and end."""
    torch.manual_seed(0)
    config = tiny_config().copy(init_std=0.3, forced_eos_token_id=None, no_repeat_ngram_size=0, early_stopping=False)
    model = BartForConditionalGeneration(config).eval()
    model.final_logits_bias[0, 2] = 6.0
    return model


def export(source: Path, target: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", str(ROOT / "scripts" / "export_hf.sh"), str(source), str(target), *flags],
        env={**os.environ, "PYTHON": sys.executable}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip


@pytest.fixture(scope="module")
def run_folder(
    model: BartForConditionalGeneration, tokenizer: BartTokenizer, setup: TinySetup, tmp_path_factory
) -> Path:
    """Write the results of a training and its evaluation, as far as an export reads them."""
    folder = tmp_path_factory.mktemp("results") / "bart_pyt"
    save_model(model, tokenizer, folder / "best_tfmr")
    tokenizer.save_pretrained(folder / "tokenizer")
    state = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    content = {"state_dict": state, "hyper_parameters": {"config": model.config.to_dict()}}
    torch.save(content, folder / "_epoch0_step4.ckpt")
    return folder


@pytest.fixture(scope="module")
def exported(run_folder: Path) -> Path:
    target = run_folder.parent / "exported"
    process = export(run_folder / "_epoch0_step4.ckpt", target)
    assert process.returncode == 0, process.stderr
    return target


def sources(tokenizer: BartTokenizer, rows: int = 3) -> torch.Tensor:
    ids = [tokenizer(f"{PREFIX}Add an argument to the parser {row * 'of it '}").input_ids for row in range(rows)]
    padded = torch.full((rows, max(map(len, ids))), tokenizer.pad_token_id)
    for row, each in zip(padded, ids, strict=True):
        row[: len(each)] = torch.tensor(each)
    return padded


@pytest.mark.parametrize(
    "searches", [range(0, SEARCHES, 8), pytest.param(range(SEARCHES), marks=pytest.mark.slow)], ids=["some", "all"]
)
def test_transformers_writes_the_same_tokens(
    model: BartForConditionalGeneration, tokenizer: BartTokenizer, exported: Path, searches: range
) -> None:
    """They are the same for any search settings, and both tokenizers read a text alike."""
    theirs = transformers.BartForConditionalGeneration.from_pretrained(exported).double().eval()
    ours = BartForConditionalGeneration.from_pretrained(exported).double()
    ids = sources(tokenizer)
    their_tokenizer = transformers.BartTokenizer.from_pretrained(exported)
    assert their_tokenizer(f"{PREFIX}Add an argument").input_ids == tokenizer(f"{PREFIX}Add an argument").input_ids
    mask = (ids != 1).long()
    lengths = set()
    for search in searches:
        settings = random_settings(search)
        written = []
        for each, given in ((ours, settings), (theirs, {**DEFAULTS, **settings})):
            torch.manual_seed(search)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                written.append(each.generate(ids, attention_mask=mask, **given).tolist())
        assert written[0] == written[1], f"search {search}: {settings}"
        lengths |= {row.index(2, 1) for row in written[0] if 2 in row[1:]}
    assert len(lengths) > 3
    assert torch.equal(ours.generate(ids, mask), theirs.generate(ids, attention_mask=mask))  # its own settings


def test_ctranslate2_writes_the_same_tokens(tokenizer: BartTokenizer, exported: Path, tmp_path: Path) -> None:
    """Its own converter reads the folder; the search is greedy, in float32."""
    ctranslate2 = pytest.importorskip("ctranslate2", reason="requirements/peers.txt is not installed")
    ctranslate2.converters.TransformersConverter(str(exported)).convert(str(tmp_path / "converted"))
    translator = ctranslate2.Translator(str(tmp_path / "converted"), "cpu", compute_type="float32", intra_threads=1)
    tokens = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    ids = sources(tokenizer, 6)
    texts = [[tokens[token_id] for token_id in row if token_id != 1] for row in ids.tolist()]
    results = translator.translate_batch(texts, beam_size=1, max_decoding_length=20)
    theirs = [tokenizer.convert_tokens_to_ids(result.hypotheses[0]) for result in results]
    ours = BartForConditionalGeneration.from_pretrained(exported)
    settings = {"num_beams": 1, "min_length": 2, "max_length": 21, "forced_eos_token_id": None}  # the start counts
    written = ours.generate(ids, (ids != 1).long(), **settings)[:, 1:].tolist()
    assert theirs == [row[: row.index(2)] if 2 in row else row[:20] for row in written]
    assert max(map(len, theirs)) > 3 and len(set(map(tuple, theirs))) > 1


def test_half_the_size_from_a_folder(
    model: BartForConditionalGeneration, run_folder: Path, exported: Path, tmp_path: Path
) -> None:
    process = export(run_folder / "best_tfmr", tmp_path / "half", "--half")
    assert process.returncode == 0, process.stderr
    sizes = [(folder / "model.safetensors").stat().st_size for folder in (tmp_path / "half", exported)]
    assert sizes[0] < 0.6 * sizes[1]
    read = BartForConditionalGeneration.from_pretrained(tmp_path / "half")
    for name, weight in read.state_dict().items():
        assert weight.dtype == torch.float32 and torch.equal(weight, model.state_dict()[name].half().float())


def test_from_fairseq(model: BartForConditionalGeneration, exported: Path, tmp_path: Path) -> None:
    """A model.pt with its dictionary is exported without a bias of the logits, which fairseq lacks."""
    write_dictionary(read_json(exported / "vocab.json"), exported / "merges.txt", tmp_path)
    torch.save({"args": namespace(model), "model": fairseq_weights(model)}, tmp_path / "model.pt")
    process = export(tmp_path / "model.pt", tmp_path / "folder")
    assert process.returncode == 0, process.stderr
    theirs = transformers.BartForConditionalGeneration.from_pretrained(tmp_path / "folder").eval()
    tokenizer = transformers.BartTokenizer.from_pretrained(tmp_path / "folder")
    assert tokenizer.get_vocab() == transformers.BartTokenizer.from_pretrained(exported).get_vocab()
    ids = tokenizer(f"{PREFIX}Add an argument", return_tensors="pt").input_ids
    with torch.no_grad():
        ours = model(ids, decoder_input_ids=ids).logits - model.final_logits_bias
        torch.testing.assert_close(theirs(ids, decoder_input_ids=ids).logits, ours, rtol=1e-4, atol=1e-4)


RUN = {
    "arguments": {
        **{"model_name_or_path": "facebook/bart-base", "data_dir": "data/news", "train_batch_size": 4},
        **{"gradient_accumulation_steps": 2, "max_tokens_per_batch": None, "fp16": False, "bf16": True, "tf32": False},
        **{"learning_rate": 3e-5, "lr_scheduler": "polynomial", "task": "summarization", "seed": 7},
    },
    "examples": {"train": 1234, "val": 56},
    **{"processes": 8, "git_commit": "abc123", "versions": {"torch": "2.13.0"}},
}
SCORES = {
    **{"rouge1": 44.161, "rouge2": 21.28, "rougeL": 30.0, "rougeLsum": 40.9, "split": "test", "n_obs": 1000},
    "intervals_95": {name: [20.0, 50.0] for name in ("rouge1", "rouge2", "rougeL", "rougeLsum")},
    "scorer": {"scorer": "rouge-score 0.1.2", "stemmer": "Porter", "splitter": "period"},
    "search": {"num_beams": 4, "min_length": None},
}


def test_the_card(run_folder: Path, exported: Path, tmp_path: Path) -> None:
    """It says all that is known: the shape, and if there is a run, data, settings and scores."""
    alone = (exported / "README.md").read_text()
    assert alone.startswith("---\nlibrary_name: transformers\n") and "400 tokens, 64 positions" in alone
    assert "## Data" not in alone and "## Scores" not in alone
    write_json(run_folder / "run.json", RUN)
    write_json(run_folder / "test_rouge.json", SCORES)
    try:
        for source, of_another in (("best_tfmr", False), ("_epoch0_step4.ckpt", True)):
            export_model(str(run_folder / source), tmp_path / "model")  # the second replaces it
            card = (tmp_path / "model" / "README.md").read_text()
            assert "base_model: facebook/bart-base\n" in card and "# bart_pyt\n" in card
            assert "`data/news`: 1,234 train, 56 val examples." in card
            assert "| examples in a step | 64 |" in card and "| precision | bf16 |" in card
            assert "| rouge1 | 44.16 | [20.00, 50.00] |" in card and "num_beams 4." in card
            assert ("those of `best_tfmr`, the best model of the run" in card) == of_another
            assert ("\nmodel-index:\n" in card) != of_another  # these are no scores of a checkpoint
    finally:
        for name in ("run.json", "test_rouge.json"):
            (run_folder / name).unlink()
    export_model(str(tmp_path / "model"), tmp_path / "again")
    assert (tmp_path / "again" / "README.md").read_text() == card


def test_what_is_refused(exported: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    for source, target, said in (
        (exported, tmp_path / "mine", "exists and holds no model"),
        (tmp_path / "nowhere.ckpt", tmp_path / "new", "no such folder or file"),
    ):
        with pytest.raises(InputError, match=said):
            export_model(str(source), target)
    assert (tmp_path / "mine" / "thesis.txt").exists() and not (tmp_path / "new").exists()
    process = export(exported, Path("one"), "two")
    assert process.returncode == 2 and process.stderr.startswith("error: at most 2 positional arguments allowed, 3")
