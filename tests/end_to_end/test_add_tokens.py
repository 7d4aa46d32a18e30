"""A training that adds tokens, through the real command, killed and resumed, and read by transformers."""

from pathlib import Path

import pytest
import torch
import transformers

from bart.modeling.modeling_bart import BartForConditionalGeneration
from bart.tokenization.tokenization_bart import BartTokenizer
from tests.commands import Command, refusal, run
from tests.same_end import assert_same_end
from tests.tiny_setup import TinySetup, write_random_model
from utils.checkpoint.checkpoint_io import checkpoints
from utils.io.json_files import read_json

STEPS = 6
WORDS = ["add_argument", "naïveté", "ArgumentParser", "日本"]  # two of them are in the texts


@pytest.fixture(scope="module")
def flags(setup: TinySetup, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("start")
    write_random_model(setup, folder / "model")
    (folder / "words.txt").write_text("\n".join([*WORDS, "self", ""]), encoding="utf-8")
    given = ["--model_name_or_path", str(folder / "model"), "--tokenizer_name_or_path", str(folder / "model")]
    given += ["--add_tokens", str(folder / "words.txt"), "--max_steps", f"{STEPS}", "--save_checkpoint_steps", "3"]
    return [*setup.training_flags, *given]


@pytest.fixture(scope="module")
def whole(flags: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole_with_tokens")
    run("finetune.py", [*flags, "--output_dir", str(folder)], folder / "log")
    return folder


def test_transformers_reads_the_same_ids_and_logits(setup: TinySetup, whole: Path, tmp_path: Path) -> None:
    """From best_tfmr, and from a checkpoint that is exported."""
    output = (whole / "log").read_text()
    assert "added 4 tokens (add_argument, naïveté, ArgumentParser, 日本); the tokenizer has 404 now\n" in output
    assert "left out, as the tokenizer has 1 token (self)\n" in output
    exported = tmp_path / "exported"
    run("utils/commands/export_model.py", [str(checkpoints(whole)[-1]), str(exported)], tmp_path / "log")
    for folder in (whole / "best_tfmr", exported):
        ours = BartForConditionalGeneration.from_pretrained(folder)
        theirs = transformers.BartForConditionalGeneration.from_pretrained(folder).eval()
        our_tokenizer, their_tokenizer = (
            cls.from_pretrained(folder) for cls in (BartTokenizer, transformers.AutoTokenizer)
        )
        assert ours.config.vocab_size == theirs.config.vocab_size == len(their_tokenizer) == 404
        text = " the ArgumentParser of naïveté in 日本 calls add_argument(x)"
        ids = their_tokenizer(text, return_tensors="pt").input_ids
        assert our_tokenizer(text).input_ids == ids[0].tolist() and {400, 401, 402, 403} <= set(ids[0].tolist())
        assert our_tokenizer.decode(ids[0]) == their_tokenizer.decode(ids[0]) == f"<s>{text}</s>"
        with torch.no_grad():
            expected = theirs(input_ids=ids, decoder_input_ids=ids).logits
            torch.testing.assert_close(ours(ids, None, ids).logits, expected, rtol=0, atol=1e-5)


def test_the_new_rows_start_as_means_and_are_trained(setup: TinySetup, flags: list[str], whole: Path) -> None:
    start = BartForConditionalGeneration.from_pretrained(flags[flags.index("--model_name_or_path", 8) + 1])
    tokenizer = BartTokenizer.from_pretrained(setup.tokenizer)
    trained = BartForConditionalGeneration.from_pretrained(whole / "best_tfmr").model.shared.weight
    for token_id, word in enumerate(WORDS, start=400):
        mean = start.model.shared.weight[tokenizer(word, add_special_tokens=False).input_ids].mean(0)
        change = (trained[token_id] - mean).abs().max()
        assert 0 < change < 0.05  # at most the sum of the learning rates, by Adam


def test_killed_and_resumed(flags: list[str], whole: Path, tmp_path: Path) -> None:
    """Bit for bit, best model included; with the tokens of the run, not with other ones."""
    own = [*flags, "--output_dir", str(tmp_path / "run"), "--resume"]
    Command("finetune.py", own, tmp_path / "log").kill_at("step 5/")
    words = Path(own[own.index("--add_tokens") + 1])
    before = words.read_bytes()
    words.write_bytes(before + b"three-four\n")
    line = refusal("finetune.py", own, tmp_path / "log")
    assert line.endswith("line 6: 'three-four' is not among the tokens of the interrupted run; give the same file")
    words.write_bytes(before)
    assert "resuming from" in run("finetune.py", own, tmp_path / "log")
    assert_same_end(tmp_path / "run", whole, STEPS)
    for file in (whole / "best_tfmr").iterdir():
        assert (tmp_path / "run" / "best_tfmr" / file.name).read_bytes() == file.read_bytes(), file.name
    assert read_json(tmp_path / "run" / "run.json")["config"]["vocab_size"] == 404
