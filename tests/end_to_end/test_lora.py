"""A training of adapters, through the real command: killed and resumed, merged, and read by peft."""

from pathlib import Path

import peft
import pytest
import torch
import transformers

from bart.errors import InputError
from bart.modeling.modeling_bart import BartForConditionalGeneration
from bart.tokenization.tokenization_bart import BartTokenizer
from tests.commands import Command, run
from tests.same_end import assert_same_end
from tests.tiny_setup import TinySetup, tiny_config
from utils.checkpoint.checkpoint_io import checkpoints, load_checkpoint
from utils.checkpoint.export import save_model
from utils.cli.parser import parse_arguments
from utils.cli.training_args import TrainingArguments
from utils.io.json_files import read_json

STEPS = 6


@pytest.fixture(scope="module")
def start(setup: TinySetup, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model whose adapters are trained."""
    folder = tmp_path_factory.mktemp("start") / "model"
    torch.manual_seed(0)
    save_model(BartForConditionalGeneration(tiny_config()), BartTokenizer.from_pretrained(setup.tokenizer), folder)
    return folder


@pytest.fixture(scope="module")
def flags(setup: TinySetup, start: Path) -> list[str]:
    given = ["--model_name_or_path", str(start), "--tokenizer_name_or_path", str(start), "--freeze_embeds"]
    given += ["--lora", "4", "--learning_rate", "1e-2", "--max_steps", f"{STEPS}", "--save_checkpoint_steps", "3"]
    return [*setup.training_flags, *given]


@pytest.fixture(scope="module")
def whole(flags: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole_with_adapters")
    run("finetune.py", [*flags, "--output_dir", str(folder)], folder / "log")
    return folder


def test_peft_reads_the_adapter_and_the_merged_model_computes_the_same(start: Path, whole: Path) -> None:
    tokens = torch.randint(4, 400, (3, 20), generator=torch.Generator().manual_seed(0))
    base = transformers.BartForConditionalGeneration.from_pretrained(start).eval()
    merged = transformers.BartForConditionalGeneration.from_pretrained(whole / "best_tfmr").eval()
    with torch.no_grad():
        before = base(input_ids=tokens, decoder_input_ids=tokens).logits
        adapted = peft.PeftModel.from_pretrained(base, whole / "adapter").eval()
        logits = adapted(input_ids=tokens, decoder_input_ids=tokens).logits
        from_peft = peft.AutoPeftModelForSeq2SeqLM.from_pretrained(whole / "adapter").merge_and_unload()
        for found in (
            merged(input_ids=tokens, decoder_input_ids=tokens).logits,
            from_peft(input_ids=tokens, decoder_input_ids=tokens).logits,
            BartForConditionalGeneration.from_pretrained(whole / "best_tfmr")(tokens, None, tokens).logits,
            BartForConditionalGeneration.from_pretrained(checkpoints(whole)[-1])(tokens, None, tokens).logits,
        ):
            torch.testing.assert_close(found, logits, rtol=0, atol=1e-6)
    assert (logits - before).abs().max() > 0.01
    assert read_json(whole / "adapter" / "adapter_config.json")["base_model_name_or_path"] == str(start)


def test_what_is_trained_is_printed_and_kept(whole: Path) -> None:
    description, output = read_json(whole / "run.json"), (whole / "log").read_text()
    trained, total = description["trained_parameters"], description["parameters"]
    assert f"\n--lora 4: {trained:,} of {total:,} parameters are trained ({trained / total:.2%}); weights" in output
    moments = load_checkpoint(checkpoints(whole)[-1])["optimizer_states"][0]["state"]
    assert sum(state["exp_avg"].numel() for state in moments.values()) == trained < 0.3 * total


def test_killed_and_resumed(flags: list[str], whole: Path, tmp_path: Path) -> None:
    """Bit for bit, with the same best model and adapter."""
    own = [*flags, "--output_dir", str(tmp_path / "run"), "--resume"]
    Command("finetune.py", own, tmp_path / "log").kill_at("step 5/")
    assert "resuming from" in run("finetune.py", own, tmp_path / "log")
    assert_same_end(tmp_path / "run", whole, STEPS)
    for folder in ("best_tfmr", "adapter"):
        for file in (whole / folder).iterdir():
            assert (tmp_path / "run" / folder / file.name).read_bytes() == file.read_bytes(), file.name


@pytest.mark.parametrize(
    ("flag", "text"),
    [
        (["--no-freeze_embeds"], "embeddings are not"),
        (["--max_positions", "128"], "adapters hold no new positions; train with --max_positions first"),
        (["--amp_level", "O2"], "adapters need float32 weights"),
    ],
)
def test_what_adapters_cannot_do_is_refused(flags: list[str], flag: list[str], text: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=text):
        parse_arguments(TrainingArguments, "Train.", [*flags, "--output_dir", str(tmp_path), *flag])
