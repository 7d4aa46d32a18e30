"""Pre-training by the real command: from documents to a model, and on from there."""

from pathlib import Path

import pytest
import torch
from transformers import BartForConditionalGeneration as TheirBart

from bart.modeling.modeling_bart import BartForConditionalGeneration
from bart.tokenization.tokenization_bart import BartTokenizer
from tests.commands import Command, refusal, run
from tests.tiny_setup import TinySetup
from utils.checkpoint.checkpoint_io import load_checkpoint
from utils.data.batch import BatchDataset, BatchIndices
from utils.data.denoising import Noise, NoiseSettings
from utils.data.examples import DenoisingExamples, Origin
from utils.data.line_files import scan
from utils.data.tokens.block_cache import BlockLimits, prepare_blocks
from utils.io.json_files import read_json


@pytest.fixture(scope="module")
def flags(setup: TinySetup, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Of a run of a few seconds, on the texts of the tiny corpus and its pairs."""
    documents = tmp_path_factory.mktemp("documents")
    for split in ("train", "val"):
        lines = (setup.data / f"{split}.source").read_text(encoding="utf-8").splitlines()
        text = "".join(f"{line}\n\n" if number % 3 == 0 else f"{line}\n" for number, line in enumerate(lines))
        (documents / f"{split}.source").write_text(text, encoding="utf-8")
    changes = ["--task", "denoising", "--data_dir", str(documents), "--pairs_dir", str(setup.data)]
    sizes = ["--max_source_length", "24", "--max_target_length", "24", "--train_batch_size", "8", "--n_train", "60"]
    return [*setup.training_flags, *changes, *sizes, "--learning_rate", "5e-3"]


@pytest.fixture(scope="module")
def pretrained(flags: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pretrained")
    run("finetune.py", [*flags, "--output_dir", str(folder)], folder / "log")
    return folder


def test_it_learns_and_fine_tuning_starts_from_it(setup: TinySetup, pretrained: Path, tmp_path: Path) -> None:
    losses = [record["loss"] for record in read_json(pretrained / "metrics.json")["train"]]
    assert losses[-1] < 0.9 * losses[0]
    assert not (pretrained / "test_rouge.json").exists()
    at = setup.training_flags.index("--model_name_or_path")
    start = [*setup.training_flags[: at + 1], str(pretrained / "best_tfmr"), *setup.training_flags[at + 2 :]]
    short = ["--max_steps", "2", "--warmup_steps", "1", "--output_dir", str(tmp_path / "tuned"), "--dropout", "0"]
    run("finetune.py", [*start, *short], tmp_path / "log")
    first = read_json(tmp_path / "tuned" / "metrics.json")["train"][0]["loss"]
    assert first < 0.95 * losses[0]  # not from random weights


def test_r_drop_compares_two_restorations(flags: list[str], tmp_path: Path) -> None:
    steps = ["--max_steps", "2", "--warmup_steps", "1", "--log_every_n_steps", "1"]
    changes = ["--r_drop", "0.7", "--dropout", "0.1", *steps, "--output_dir", str(tmp_path)]
    run("finetune.py", [*flags, *changes], tmp_path / "log")
    records = read_json(tmp_path / "metrics.json")["train"]
    assert [record["step"] for record in records] == [1, 2]
    assert all(0 < record["r_drop_divergence"] < record["loss"] for record in records)


@pytest.mark.parametrize("workers", ["0", "2"])
def test_resume_is_bit_identical(flags: list[str], pretrained: Path, tmp_path: Path, workers: str) -> None:
    """Killed in the second epoch, whose noise is another one than the first's."""
    steps = read_json(pretrained / "run.json")["steps_per_epoch"]
    command = [*flags, "--output_dir", str(tmp_path), "--save_checkpoint_steps", "3", "--num_workers", workers]
    Command("finetune.py", command, tmp_path / "log").kill_at(f"step {steps + 3}/20")
    run("finetune.py", [*command, "--resume"], tmp_path / "log")
    whole, resumed = (load_checkpoint(next(folder.glob("*_step20.ckpt"))) for folder in (pretrained, tmp_path))
    assert steps + 3 < 20
    for name, weight in whole["state_dict"].items():
        assert torch.equal(weight, resumed["state_dict"][name]), name
    histories = [read_json(folder / "metrics.json") for folder in (pretrained, tmp_path)]
    assert histories[0]["train"] == histories[1]["train"]
    assert histories[0]["validation"] == histories[1]["validation"]


def test_the_loss_of_a_batch_is_transformers(setup: TinySetup, flags: list[str], pretrained: Path) -> None:
    """On the same tensors, corrupted sources and whole targets, in float64."""
    tokenizer = BartTokenizer.from_pretrained(setup.tokenizer)
    documents = Path(flags[flags.index("--pairs_dir") - 1]) / "train.source"
    blocks = prepare_blocks(scan(documents), tokenizer, BlockLimits(" ", 24))
    noise = Noise(tokenizer, NoiseSettings(), seed=3)
    examples = DenoisingExamples(blocks.texts, noise, Origin(documents, blocks.lines))
    dataset = BatchDataset(examples, tokenizer.pad_token_id, 64)
    rows = torch.arange(9).numpy()
    batch = dataset[BatchIndices(rows, step_target_tokens=int(blocks.texts.lengths[rows].sum()), epoch=2)]
    assert (batch.input_ids == tokenizer.mask_token_id).any()
    for row in rows:
        labels = batch.labels[row]
        assert labels[labels != -100].tolist() == blocks.texts[row].tolist()

    folder = pretrained / "best_tfmr"
    ours = BartForConditionalGeneration.from_pretrained(folder).double()
    theirs = TheirBart.from_pretrained(folder).double().eval()
    expected = theirs(batch.input_ids, batch.attention_mask, labels=batch.labels).loss
    loss = ours.loss_sum(batch.input_ids, batch.mask(), batch.labels, target_indices=batch.target_indices)
    assert abs(loss / batch.step_target_tokens - expected) < 1e-9


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["--freeze_embeds", "--model_name_or_path", "somewhere"], "--task denoising"),
        (["--data_dir", "nowhere"], "nowhere/train.source"),
        (["--pairs_dir", "nowhere"], "nowhere/train.source"),
        (["--mask_ratio", "1.0"], "--mask_ratio 1.0"),
    ],
)
def test_bad_input(flags: list[str], tmp_path: Path, changes: list[str], said: str) -> None:
    assert said in refusal("finetune.py", [*flags, "--output_dir", str(tmp_path / "out"), *changes], tmp_path / "log")
    assert not (tmp_path / "out").exists()
