"""Bad input is one line that names it, exit code 2, and nothing written."""

import json
import resource
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from bart.tokenization.training import train_tokenizer
from tests.commands import ROOT, Command, refusal
from tests.tiny_setup import TinySetup
from utils.cli.run import ARGUMENT_NAMES


@pytest.mark.parametrize("script", ["finetune.py", "run_eval.py"])
def test_help_and_wrong_flags_need_no_torch(script: str) -> None:
    """-X importtime lists every module that is imported."""
    command = [sys.executable, "-X", "importtime", ROOT / script]
    for flags, code in ((["--help"], 0), (["--no_such_flag"], 2)):
        result = subprocess.run([*command, *flags], capture_output=True, text=True)
        assert result.returncode == code
        assert "| torch" not in result.stderr and "| transformers" not in result.stderr
    said = [line for line in result.stderr.splitlines() if not line.startswith("import time:")]
    assert len(said) == 1 and said[0].startswith("error: ")


@pytest.fixture
def broken(setup: TinySetup, tmp_path: Path) -> TinySetup:
    """A copy to be broken."""
    copy = TinySetup(tmp_path / "data", tmp_path / "tokenizer", tmp_path / "config.json")
    shutil.copytree(setup.data, copy.data)
    shutil.copytree(setup.tokenizer, copy.tokenizer)
    shutil.copy(setup.config, copy.config)
    return copy


def training_refusal(setup: TinySetup, tmp_path: Path, *flags: str) -> str:
    folder = tmp_path / "results"
    line = refusal("finetune.py", [*setup.training_flags, "--output_dir", str(folder), *flags], tmp_path / "log")
    assert not folder.exists()
    return line


def test_data(broken: TinySetup, tmp_path: Path) -> None:
    assert f"{tmp_path / 'nowhere'}/train.source: No such file" in training_refusal(
        broken, tmp_path, "--data_dir", str(tmp_path / "nowhere")
    )
    target = broken.data / "val.target"
    target.write_text("".join(target.read_text().splitlines(keepends=True)[:-1]))
    line = training_refusal(broken, tmp_path)
    assert f"{broken.data / 'val.source'} has 13 lines, {target} has 12" in line
    target.write_bytes(b"fine\n\xff\xfe\n" + b"fine\n" * 11)
    assert f"{target}: line 2 is not UTF-8" in training_refusal(broken, tmp_path)


def test_what_another_machine_lacks(setup: TinySetup, tmp_path: Path) -> None:
    """Its own log says it: the first process there does."""
    flags = [*setup.training_flags, "--data_dir", str(tmp_path / "nowhere"), "--output_dir", str(tmp_path / "results")]
    second = {"RANK": "1", "LOCAL_RANK": "0", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "1", "GROUP_RANK": "1"}
    second |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1", "TORCHELASTIC_RUN_ID": "test"}
    command = Command("finetune.py", [*flags, "--num_nodes", "2"], tmp_path / "log", second)
    assert command.wait() == 2
    assert command.output.startswith(f"error: {tmp_path / 'nowhere'}/train.source: No such file")
    assert command.output.count("\n") == 1


def most_data_bytes(command: Command) -> int:
    """What RLIMIT_DATA would limit, at its highest while the command runs."""
    most = 0
    while command.process.is_alive():
        with suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
            lines = Path(f"/proc/{command.process.pid}/status").read_text().splitlines()
            most = max([most, *(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmData:"))])
        time.sleep(0.01)
    assert command.wait() == 0, command.output
    return most


def test_a_training_that_does_not_fit_into_memory(broken: TinySetup, tmp_path: Path) -> None:
    """A limit of the real system, between what steps of one example take and the activations of a step of all."""
    shape = json.loads(broken.config.read_text())
    broken.config.write_text(json.dumps({**shape, "encoder_ffn_dim": 2**16}))
    flags = [*broken.training_flags, "--gradient_accumulation_steps", "1", "--max_steps", "2", "--warmup_steps", "1"]
    single = [*flags, "--train_batch_size", "1", "--output_dir", str(tmp_path / "single")]
    limit = most_data_bytes(Command("finetune.py", single, tmp_path / "single.log")) + 200 * 10**6
    flags += ["--train_batch_size", "61", "--output_dir", str(tmp_path / "results")]
    command = Command("finetune.py", flags, tmp_path / "log", {ARGUMENT_NAMES: "train_batch_size=BS"})
    resource.prlimit(command.process.pid, resource.RLIMIT_DATA, (limit, limit))
    assert command.wait() == 2, command.output
    line = command.output.splitlines()[-1]
    assert line.startswith("error: out of memory: lower --train_batch_size (BS) and raise --gradient_accumulation")
    assert "Traceback" not in command.output


def test_an_example_beyond_the_budget(broken: TinySetup, tmp_path: Path) -> None:
    """Its line is counted in the file, of which pairs without a text are left out."""
    sources = ["", *["word"] * 39, "word " * 100, *["word"] * 20]
    (broken.data / "train.source").write_text("".join(f"{source}\n" for source in sources))
    line = training_refusal(broken, tmp_path, "--max_tokens_per_batch", "71", "--max_target_length", "8")
    assert f"--max_tokens_per_batch 71: {broken.data / 'train.source'}, line 41, has 72 tokens" in line


def test_model_and_configuration(broken: TinySetup, tmp_path: Path) -> None:
    missing = str(tmp_path / "missing")
    assert missing in training_refusal(broken, tmp_path, "--config_path", missing)
    assert missing in training_refusal(broken, tmp_path, "--model_name_or_path", missing)
    assert "missing.ckpt" in training_refusal(broken, tmp_path, "--model_name_or_path", "missing.ckpt")
    broken.config.write_text("{")
    assert str(broken.config) in training_refusal(broken, tmp_path)
    broken.config.write_text(json.dumps({"d_model": 30, "encoder_attention_heads": 4}))
    assert "d_model=30" in training_refusal(broken, tmp_path)


def test_tokenizer(broken: TinySetup, tmp_path: Path) -> None:
    assert "missing" in training_refusal(broken, tmp_path, "--tokenizer_name_or_path", str(tmp_path / "missing"))
    (tmp_path / "empty").mkdir()
    assert str(tmp_path / "empty") in training_refusal(
        broken, tmp_path, "--tokenizer_name_or_path", str(tmp_path / "empty")
    )
    lines = [line for path in broken.data.glob("*.*[et]") for line in path.read_text().splitlines()]
    train_tokenizer(lines, 450, tmp_path / "large")
    line = training_refusal(broken, tmp_path, "--tokenizer_name_or_path", str(tmp_path / "large"))
    assert "go up to 448" in line and "400 tokens" in line


def test_what_this_machine_or_run_has_not(broken: TinySetup, tmp_path: Path) -> None:
    assert "--gpus 64: this machine has" in training_refusal(broken, tmp_path, "--gpus", "64")
    assert "--fp16: needs a GPU" in training_refusal(broken, tmp_path, "--fp16")
    assert "--warmup_steps 20: must be below" in training_refusal(broken, tmp_path, "--warmup_steps", "20")
    assert "--max_source_length 65" in training_refusal(broken, tmp_path, "--max_source_length", "65")


def test_a_folder_in_use(setup: TinySetup, whole_run: Path, tmp_path: Path) -> None:
    before = sorted(whole_run.iterdir())
    line = refusal("finetune.py", [*setup.training_flags, "--output_dir", str(whole_run)], tmp_path / "log")
    assert f"{whole_run} holds the results of a run; give --resume, --overwrite_output_dir" in line
    (tmp_path / "metrics.json").write_text("{}")
    refusal("finetune.py", [*setup.training_flags, "--output_dir", str(tmp_path)], tmp_path / "log")
    (tmp_path / "file").write_text("")
    line = refusal(
        "finetune.py", [*setup.training_flags, "--output_dir", str(tmp_path / "file" / "x")], tmp_path / "log"
    )
    assert "--output_dir" in line
    assert sorted(whole_run.iterdir()) == before


def test_evaluation(setup: TinySetup, whole_run: Path, tmp_path: Path) -> None:
    def line(
        *flags: str, model: Path = whole_run / "best_tfmr", config: Path = setup.config, data: Path = setup.data
    ) -> str:
        folder = tmp_path / "results"
        return refusal("run_eval.py", [str(model), str(config), str(data), str(folder), *flags], tmp_path / "log")

    assert "missing" in line(model=tmp_path / "missing")
    assert "missing.json" in line(config=tmp_path / "missing.json")
    assert "test.source" in line(data=tmp_path)
    assert "--device cuda" in line("--device", "cuda")
    assert "num_return_sequences=9" in line("--num_return_sequences", "9")
    assert "top_p=0.5" in line("--top_p", "0.5")
    assert "early_stopping='sometimes'" in line("--early_stopping", "sometimes")
    assert "--task xsum" in line("--task", "xsum")
    assert "--eval_max_gen_length 65" in line("--eval_max_gen_length", "65")
    alone = tmp_path / "_epoch2_step20.ckpt"
    shutil.copy(whole_run / alone.name, alone)
    assert "--tokenizer_name_or_path" in line(model=alone)


def test_a_search_that_cannot_be_is_refused_before_the_training(broken: TinySetup, tmp_path: Path) -> None:
    config = json.loads(broken.config.read_text())
    broken.config.write_text(json.dumps({**config, "num_beams": 4, "num_beam_groups": 4}))
    line = training_refusal(broken, tmp_path, "--eval_beams", "2")
    assert "num_beam_groups" in line
