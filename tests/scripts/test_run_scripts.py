"""run_summarization.sh and run_eval_summarization.sh: which commands they run, and when they refuse to.

PYTHON is a small program that writes down how it was called: what the scripts do is to call Python.
"""

import os
import pty
import re
import select
import shlex
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.foreign_modules import write_foreign_modules
from tests.mounts import fill, small_disk
from utils.cli.evaluation_args import EvaluationArguments
from utils.cli.options import options_of, to_values
from utils.cli.parser import parse_arguments
from utils.cli.training_args import TrainingArguments
from utils.cli.tuning_args import TuningArguments
from utils.io.json_files import write_json

ROOT = Path(__file__).parents[2]
STANDALONE = "-m torch.distributed.run --standalone --local_addr 127.0.0.1"
RECORDER = """#!/usr/bin/env bash
[[ $1 != -P ]] || shift
if [[ $1 == -c ]]; then
    echo "${GPUS_PRESENT:-0}"
    exit
fi
printf '%s\\n' "$@" >"$CALLS/$(find "$CALLS" -type f | wc -l)"
echo "ran ${1##*/}"
echo "$BART_ARGUMENT_NAMES" >"$CALLS/../names"
[[ ${1##*/} != "${FAILING:-}" ]] || exit "${EXIT_CODE:-7}"
"""


class Scripts:
    """Runs the scripts in an empty folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.calls_folder = folder / "calls"
        self.calls_folder.mkdir()
        recorder = folder / "recorder"
        recorder.write_text(RECORDER)
        recorder.chmod(0o755)
        self.environment = {
            **{name: value for name, value in os.environ.items() if name != "RESULTS_DIR"},
            "PYTHON": str(recorder),
            "CALLS": str(self.calls_folder),
        }

    def run(self, command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a script by its name, with arguments as a shell reads them."""
        script, *arguments = shlex.split(command)
        return subprocess.run(
            ["bash", str(ROOT / "scripts" / script), *arguments],
            cwd=self.folder,
            env=self.environment | environment,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def calls(self) -> list[list[str]]:
        """The arguments of every call of Python, in order."""
        names = sorted(self.calls_folder.iterdir(), key=lambda path: int(path.name))
        return [path.read_text().splitlines() for path in names]

    def training(self) -> SimpleNamespace:
        """The first call, as finetune.py itself reads it: every option by name."""
        program, *arguments = self.calls()[0]
        assert program == str(ROOT / "finetune.py")
        return SimpleNamespace(**to_values(parse_arguments(TrainingArguments, "", arguments)))

    def evaluation(self) -> SimpleNamespace:
        """The last call, as run_eval.py itself reads it: every option by name."""
        *launcher, arguments = " ".join(self.calls()[-1]).partition(f"{ROOT / 'run_eval.py'} ")
        assert launcher[1] == f"{ROOT / 'run_eval.py'} "
        return SimpleNamespace(**to_values(parse_arguments(EvaluationArguments, "", arguments.split())))


@pytest.fixture
def scripts(tmp_path: Path) -> Scripts:
    return Scripts(tmp_path)


def preset(corpus: str, name: str) -> str:
    command = f"source {ROOT}/scripts/params/{corpus}_params.sh && {name}"
    return subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True).stdout


def refused(run: subprocess.CompletedProcess[str], *words: str) -> None:
    """One line, that holds the words; exit code 2."""
    assert run.returncode == 2
    assert run.stderr.startswith("error: ") and run.stderr.count("\n") == 1
    assert all(word in run.stderr for word in words), run.stderr


def test_training_without_arguments_is_the_specifications_default_line(scripts: Scripts) -> None:
    assert scripts.run("run_summarization.sh", GPUS_PRESENT="8").returncode == 0
    arguments = scripts.training()
    assert (arguments.data_dir, arguments.config_path, arguments.gpus) == ("data/cnn_dm/", "configs/config.json", 8)
    assert (arguments.learning_rate, arguments.train_batch_size, arguments.gradient_accumulation_steps) == (1e-4, 24, 1)
    assert (arguments.fp16, arguments.bf16, arguments.tf32) == (True, False, False)
    assert (arguments.max_steps, arguments.warmup_steps) == (20000, 500)
    assert (arguments.max_source_length, arguments.max_target_length) == (1024, 142)
    assert (arguments.val_max_target_length, arguments.eval_max_gen_length) == (142, 142)
    assert (arguments.eval_beams, arguments.eval_batch_size) == (0, 128)  # EVAL_BEAMS is the evaluation's alone
    assert (arguments.val_check_interval, arguments.early_stopping_patience) == (0.3, 2)
    assert arguments.n_test == 0  # the script evaluates itself
    evaluation = scripts.evaluation()
    assert (evaluation.eval_beams, evaluation.bs, evaluation.type_path) == (4, 64, "test")
    assert (evaluation.model, evaluation.save_path) == (f"{arguments.output_dir}/best_tfmr", arguments.output_dir)


def test_training_fixes_what_the_reference_fixes(scripts: Scripts) -> None:
    scripts.run("run_summarization.sh d c.json 0")
    (_, *arguments), _ = scripts.calls()
    for setting in (
        *("--sortish_sampler", "--lr_scheduler polynomial", "--label_smoothing 0.1", "--weight_decay 0.1"),
        *("--dropout 0.1", "--attention_dropout 0.1", "--gradient_clip_val 0.1", "--freeze_embeds", "--seed 42"),
        *("--min_epochs 0", "--num_sanity_val_steps 0", "--n_val -1", "--amp_level O1"),
    ):
        assert f" {setting} --" in f" {' '.join(arguments)} --"


def test_every_positional_argument_arrives(scripts: Scripts) -> None:
    scripts.run("run_summarization.sh d c.json 1 2e-4 3 4 tf32 500 6 70 80 9 10 11 0.12 13")
    arguments = scripts.training()
    assert (arguments.data_dir, arguments.config_path, arguments.gpus) == ("d", "c.json", 1)
    assert (arguments.learning_rate, arguments.train_batch_size, arguments.gradient_accumulation_steps) == (2e-4, 3, 4)
    assert (arguments.tf32, arguments.max_steps, arguments.warmup_steps) == (True, 500, 6)
    assert (arguments.max_source_length, arguments.max_target_length) == (70, 80)
    assert (arguments.val_max_target_length, arguments.eval_max_gen_length) == (80, 80)
    assert (arguments.eval_batch_size, arguments.val_check_interval) == (10, 0.12)
    assert arguments.early_stopping_patience == 13
    evaluation = scripts.evaluation()
    assert (evaluation.eval_beams, evaluation.bs, evaluation.tf32, evaluation.device) == (9, 11, True, "cuda")
    assert (evaluation.max_source_length, evaluation.max_target_length) == (70, 80)
    assert (evaluation.eval_max_gen_length, evaluation.data_dir, evaluation.config) == (80, "d", "c.json")


def test_flags_end_the_positional_arguments_and_win(scripts: Scripts) -> None:
    scripts.run("run_summarization.sh d c.json 0 --seed 7 --no-freeze_embeds --max_steps 600")
    arguments = scripts.training()
    assert (arguments.seed, arguments.freeze_embeds, arguments.max_steps) == (7, False, 600)
    assert arguments.learning_rate == 1e-4
    assert "--seed" not in scripts.calls()[1]  # they are finetune.py's


@pytest.mark.parametrize(
    "flags",
    ["--text_column words --summary_column gist --split 0.8,0.1,0.1", "--text_column=words --split=0.8,0.1,0.1"],
)
def test_the_columns_of_tables_go_to_the_evaluation_too(scripts: Scripts, flags: str) -> None:
    scripts.run(f"run_summarization.sh d c.json 0 --seed 7 {flags} --max_steps 600")
    for arguments in (scripts.training(), scripts.evaluation()):
        assert (arguments.text_column, arguments.summary_column) == ("words", "gist" if "gist" in flags else None)
        assert arguments.split == "0.8,0.1,0.1"
    assert not scripts.training().needs_test


@pytest.mark.parametrize("flags", ["--n_test 0 --average_checkpoints 2", "--n_test=0"])
def test_no_evaluation_if_it_is_not_asked_for(scripts: Scripts, flags: str) -> None:
    assert scripts.run(f"run_summarization.sh d c.json 0 {flags}").stdout == "ran finetune.py\n"
    assert scripts.training().n_test == 0


def test_no_evaluation_if_there_is_no_test_split(scripts: Scripts) -> None:
    """The training has said so in run.json, which stays from it: the script reads that of its own results alone."""
    (scripts.folder / "here").mkdir()
    for facts, programs in (({"no_test_split": True}, 1), ({}, 2)):
        write_json(scripts.folder / "here" / "run.json", facts)
        run = scripts.run("run_summarization.sh d c.json 0", RESULTS_DIR="here")
        assert run.returncode == 0 and run.stdout.splitlines() == ["ran finetune.py", "ran run_eval.py"][:programs]


@pytest.mark.parametrize("corpus", ["cnn_dm", "xsum", "docstrings", "samsum", "dialogsum"])
def test_presets_are_understood_by_the_programs(scripts: Scripts, corpus: str) -> None:
    names = {"cnn_dm": ["dgx2_16gpu_fp32", "t4_1gpu_fp16"], "xsum": ["dgxa100_8gpu_tf32", "h200_1gpu_bf16"]}
    names |= {"samsum": ["t4_1gpu_fp16"], "dialogsum": ["rtx4090_1gpu_bf16"]}
    for name in names.get(corpus, ["cpu"]):
        scripts.run(f"run_summarization.sh {preset(corpus, name)}", GPUS_PRESENT="16")
        trained = scripts.evaluation()
        evaluation = f"run_eval_summarization.sh {trained.model} {preset(corpus, f'{name}_eval')}"
        scripts.run(evaluation, GPUS_PRESENT="16")
        assert vars(scripts.evaluation()) | {"save_path": trained.save_path} == vars(trained)
        for call in scripts.calls_folder.iterdir():
            call.unlink()


@pytest.mark.parametrize(
    ("precision", "flags"), [("FP16", "--fp16"), ("Bf16", "--bf16"), ("TF32", "--tf32"), ("fp32", "")]
)
def test_precision_in_any_case_of_letters(scripts: Scripts, precision: str, flags: str) -> None:
    scripts.run(f"run_summarization.sh d c.json 1 1e-4 2 1 {precision}")
    for call in scripts.calls():
        assert [flag for flag in call if flag in ("--fp16", "--bf16", "--tf32", "--fp32")] == flags.split()


def test_results_folder_is_new_and_holds_the_log_of_both_programs(scripts: Scripts) -> None:
    run = scripts.run("run_summarization.sh d c.json 0")
    (results,) = (scripts.folder / "results").iterdir()
    assert results.name.startswith("bart_pyt_20")
    assert run.stdout == (results / "joblog.log").read_text() == "ran finetune.py\nran run_eval.py\n"


def test_an_averaged_model_is_evaluated_too(scripts: Scripts) -> None:
    """After the best one, if there is one."""
    command, results = "run_summarization.sh d c.json 0 --average_checkpoints 3", scripts.folder / "here"
    assert scripts.run(command, RESULTS_DIR="here").stdout == "ran finetune.py\nran run_eval.py\n"
    (results / "averaged_tfmr").mkdir()
    run = scripts.run(command, RESULTS_DIR="here")
    assert run.returncode == 0 and run.stdout == "ran finetune.py\nran run_eval.py\nran run_eval.py\n"
    assert (scripts.evaluation().model, scripts.evaluation().save_path) == ("here/averaged_tfmr", "here/averaged")
    assert (results / "averaged" / "joblog.log").read_text() == "ran run_eval.py\n"


def test_a_failed_training_is_not_evaluated(scripts: Scripts) -> None:
    run = scripts.run("run_summarization.sh d c.json 0", FAILING="finetune.py")
    assert run.returncode == 7
    assert [call[0] for call in scripts.calls()] == [str(ROOT / "finetune.py")]


def test_a_failed_evaluation_fails_the_script(scripts: Scripts) -> None:
    assert scripts.run("run_summarization.sh d c.json 0", FAILING="run_eval.py").returncode == 7
    assert scripts.run("run_eval_summarization.sh m 1 0", FAILING="run_eval.py").returncode == 7


@pytest.mark.parametrize(
    ("program", "command"),
    [("finetune.py", "run_summarization.sh d c.json 0"), ("run_eval.py", "run_eval_summarization.sh m 1 0")],
)
def test_a_refused_start_leaves_no_folder(scripts: Scripts, program: str, command: str) -> None:
    """None that is new; where an error is no refusal, its log is worth keeping."""
    assert scripts.run(command, FAILING=program, EXIT_CODE="2").returncode == 2
    assert list((scripts.folder / "results").iterdir()) == []
    assert scripts.run(command, FAILING=program).returncode == 7
    assert len(list((scripts.folder / "results").glob("*/joblog.log"))) == 1
    (scripts.folder / "mine").mkdir()
    assert scripts.run(command, FAILING=program, EXIT_CODE="2", RESULTS_DIR="mine").returncode == 2
    assert (scripts.folder / "mine" / "joblog.log").read_text() == f"ran {program}\n"


@pytest.mark.parametrize(
    "command",
    [
        *("run_summarization.sh d c.json 0", "run_eval_summarization.sh m 1 0"),
        "run_pretraining.sh d c.json 0 1e-3 64 2 fp32 500 50 128",
    ],
)
def test_errors_can_name_every_argument(scripts: Scripts, command: str) -> None:
    """Each that is given by position, as the usage names it; the flags are the program's."""
    program = "run_eval.py" if "eval" in command else "finetune.py"
    scripts.run(command, FAILING="finetune.py")
    names = dict(pair.split("=") for pair in (scripts.folder / "names").read_text().split())
    listed = scripts.run(f"{command.split()[0]} --help").stdout.partition("[--flag")[0]
    positions = set(re.findall("[A-Z][A-Z_]+", listed))
    assert set(names.values()) - {"RESULTS_DIR"} <= positions
    for name in positions - {"INIT_CKPT", "DATA_DIR", "CONFIG_PATH"}:
        assert name in names.values() or (program == "finetune.py" and name in ("EVAL_BEAMS", "PRED_BS")), name
    accepted = TrainingArguments if program == "finetune.py" else EvaluationArguments
    assert names.keys() <= {option.name for option in options_of(accepted)}


@pytest.mark.parametrize("content", ["_epoch1_step20.ckpt", "metrics.json"])
def test_a_results_folder_in_use(scripts: Scripts, content: str) -> None:
    used = scripts.folder / "used"
    used.mkdir()
    (used / content).touch()
    (used / "joblog.log").write_text("yesterday\n")
    command = "run_summarization.sh d c.json 0"
    refused(scripts.run(command, RESULTS_DIR="used"), "used", "--resume")
    assert scripts.calls() == []
    assert (used / "joblog.log").read_text() == "yesterday\n"
    assert scripts.run(f"{command} --resume", RESULTS_DIR="used").returncode == 0
    assert scripts.training().resume and scripts.evaluation().resume and scripts.evaluation().discard_other_journal
    assert (used / "joblog.log").read_text() == "yesterday\nran finetune.py\nran run_eval.py\n"
    assert scripts.run(f"{command} --overwrite_output_dir", RESULTS_DIR="used").returncode == 0


@pytest.mark.parametrize("command", ["run_summarization.sh d c.json 0", "run_eval_summarization.sh m 1 0"])
def test_a_results_folder_whose_name_begins_with_a_minus(scripts: Scripts, command: str) -> None:
    """It reaches the programs as a folder, not as a flag."""
    assert scripts.run(command, RESULTS_DIR="-mine").returncode == 0
    assert scripts.evaluation().save_path == "./-mine" and (scripts.folder / "-mine" / "joblog.log").exists()
    if "run_summarization" in command:
        assert scripts.training().output_dir == "./-mine"
        (scripts.folder / "-mine" / "_epoch0_step1.ckpt").touch()
        refused(scripts.run(command, RESULTS_DIR="-mine"), "./-mine holds the results of a run")


def test_a_results_folder_in_use_whose_name_is_a_pattern(scripts: Scripts) -> None:
    (scripts.folder / "run[1]").mkdir()
    (scripts.folder / "run[1]" / "_epoch1_step20.ckpt").touch()
    refused(scripts.run("run_summarization.sh d c.json 0", RESULTS_DIR="run[1]"), "run[1] holds the results of a run")


def test_the_folder_is_chosen_by_results_dir_alone(scripts: Scripts) -> None:
    for script in ("run_summarization.sh", "run_eval_summarization.sh"):
        refused(scripts.run(f"{script} --resume"), "--resume", "RESULTS_DIR")
    refused(scripts.run("run_summarization.sh --output_dir x"), "--output_dir", "RESULTS_DIR")
    for flag in ("--data_dir x", "--gpus=1", "--max_target_length 9", "--max_length 9", "--bf16", "--no-fp16"):
        refused(scripts.run(f"run_summarization.sh {flag}"), flag.split()[0].split("=")[0], "by position")
    for flag in ("--n_test 5", "--n_test=5", "--n_test"):
        refused(scripts.run(f"run_summarization.sh {flag}"), "--n_test", "run_eval_summarization.sh", "--n_obs")
    assert scripts.calls() == []


@pytest.mark.parametrize(
    ("position", "value", "name"),
    [
        (2, "two", "NUM_GPU"),
        (3, "fast", "LR"),
        (4, "0", "BS"),
        (5, "1.5", "ACCUM"),
        (6, "fp64", "PREC"),
        (7, "-3", "TRAIN_STEPS"),
        (8, "x", "WARMUP_STEPS"),
        (9, "1k", "MAX_SOURCE_LEN"),
        (10, "142 ", "MAX_TARGET_LEN"),
        (11, "0", "EVAL_BEAMS"),
        (12, "0x10", "EVAL_BS"),
        (13, "zero", "PRED_BS"),
        (14, "often", "VAL_CHECK_INTERVAL"),
        (15, "0", "PATIENCE"),
    ],
)
def test_an_impossible_value_is_refused_by_name(scripts: Scripts, position: int, value: str, name: str) -> None:
    arguments = shlex.split("d c.json 0 1e-4 2 1 fp32 50 5 64 32 4 8 8 0.3 2")
    arguments[position] = value
    refused(scripts.run(shlex.join(["run_summarization.sh", *arguments])), name, value)
    assert scripts.calls() == [] and not (scripts.folder / "results").exists()


def test_too_many_arguments_are_refused(scripts: Scripts) -> None:
    refused(scripts.run("run_summarization.sh d c 0 1e-4 2 1 fp32 50 5 64 32 4 8 8 0.3 2 17th"), "17th")
    refused(scripts.run("run_eval_summarization.sh m 1 0 fp32 4 64 32 d c 10th"), "10th")


def test_evaluation_without_arguments_is_the_specifications_default_line(scripts: Scripts) -> None:
    assert scripts.run("run_eval_summarization.sh", GPUS_PRESENT="8").returncode == 0
    assert " ".join(scripts.calls()[0]).startswith(f"{STANDALONE} --nproc_per_node 8 --max_restarts 0 ")
    arguments = scripts.evaluation()
    assert (arguments.model, arguments.bs, arguments.fp16) == ("data/nvidia-pretrained/model.ckpt", 128, True)
    assert (arguments.eval_beams, arguments.max_source_length, arguments.max_target_length) == (4, 1024, 142)
    assert (arguments.eval_max_gen_length, arguments.device) == (142, "cuda")
    assert (arguments.data_dir, arguments.config) == ("data/cnn_dm/", "configs/config.json")
    (results,) = (scripts.folder / "results").iterdir()
    assert results.name.startswith("bart_pyt_inference_20")
    assert (results / "joblog.log").read_text() == "ran -m\n"


def test_evaluation_takes_flags_and_a_folder(scripts: Scripts) -> None:
    run = scripts.run("run_eval_summarization.sh m 2 0 --n_obs 5 --eval_beams 1", RESULTS_DIR="here")
    assert run.returncode == 0
    arguments = scripts.evaluation()
    assert (arguments.n_obs, arguments.eval_beams, arguments.bs, arguments.device) == (5, 1, 2, "cpu")
    assert arguments.save_path == "here" and (scripts.folder / "here" / "joblog.log").exists()


def test_evaluation_refuses_more_gpus_than_there_are(scripts: Scripts) -> None:
    refused(scripts.run("run_eval_summarization.sh m 2 4", GPUS_PRESENT="3"), "4", "3 GPUs")
    assert scripts.calls() == []


@pytest.mark.parametrize(
    "script", ["run_summarization.sh", "run_eval_summarization.sh", "run_pretraining.sh", "setup_env.sh"]
)
def test_help(scripts: Scripts, script: str) -> None:
    run = scripts.run(f"{script} --help")
    assert run.returncode == 0 and run.stdout.startswith("usage: ") and run.stderr == ""
    assert scripts.calls() == [] and not (scripts.folder / "results").exists()


def test_python_that_is_not_there(scripts: Scripts) -> None:
    refused(scripts.run("run_eval_summarization.sh m 2 0", PYTHON="/nowhere/python"), "PYTHON", "/nowhere/python")


@pytest.mark.parametrize("flags", ["--long_documents chunk", "--long_documents=chunk"])
def test_the_evaluation_after_training_takes_long_documents_too(scripts: Scripts, flags: str) -> None:
    assert scripts.run(f"run_summarization.sh d c.json 0 {flags} --seed 7").returncode == 0
    assert scripts.training().long_documents == scripts.evaluation().long_documents == "chunk"
    assert scripts.training().seed == 7


def test_the_evaluation_after_training_scores_as_it_did(scripts: Scripts) -> None:
    flags = "--rouge_sentence_splitter newline --rouge_tokenizer=unicode --bertscore bert --bertscore_layer=2"
    assert scripts.run(f"run_summarization.sh d c.json 0 {flags}").returncode == 0
    for arguments in (scripts.training(), scripts.evaluation()):
        assert (arguments.rouge_sentence_splitter, arguments.rouge_tokenizer) == ("newline", "unicode")
        assert (arguments.bertscore, arguments.bertscore_layer) == ("bert", 2)


@pytest.mark.parametrize("flag", ["--data_report", "--dry_run"])
def test_a_report_is_no_training(scripts: Scripts, flag: str) -> None:
    """Nothing is evaluated after it, it may be made for a folder in use, and no folder is made for it."""
    assert scripts.run(f"run_summarization.sh d c.json 0 {flag}").returncode == 0
    assert not (scripts.folder / "results").exists()
    (scripts.folder / "used").mkdir()
    (scripts.folder / "used" / "metrics.json").write_text("{}")
    assert scripts.run(f"run_summarization.sh d c.json 0 {flag}", RESULTS_DIR="used").returncode == 0
    assert [path.name for path in (scripts.folder / "used").iterdir()] == ["metrics.json"]
    assert len(scripts.calls()) == 2 and getattr(scripts.training(), flag.removeprefix("--"))


def test_pretraining(scripts: Scripts) -> None:
    """Nothing is evaluated; what the script fixes is beaten by flags."""
    run = scripts.run("run_pretraining.sh d c.json 0 1e-3 64 2 bf16 500 50 128 32 0.2 7 --tokenizer_name_or_path t")
    assert run.returncode == 0 and len(scripts.calls()) == 1
    arguments = scripts.training()
    assert (arguments.task, arguments.data_dir, arguments.config_path) == ("denoising", "d", "c.json")
    assert (arguments.learning_rate, arguments.train_batch_size, arguments.gradient_accumulation_steps) == (1e-3, 64, 2)
    assert (arguments.gpus, arguments.bf16, arguments.max_steps, arguments.warmup_steps) == (0, True, 500, 50)
    assert (arguments.max_source_length, arguments.max_target_length) == (128, 128)
    assert (arguments.eval_batch_size, arguments.val_check_interval) == (32, 0.2)
    assert (arguments.early_stopping_patience, arguments.model_name_or_path) == (7, "scratch")
    assert (arguments.mask_ratio, arguments.poisson_lambda, arguments.mask_random) == (0.3, 3.5, 0.1)
    assert (arguments.permute_sentences, arguments.freeze_embeds, arguments.adam_beta2) == (True, False, 0.98)
    (results,) = (scripts.folder / "results").iterdir()
    assert results.name.startswith("bart_pyt_pretraining_20")


@pytest.mark.parametrize("name", ["bart_large_8gpu_bf16", "mini_short_cpu", "mini_1gpu"])
def test_pretraining_presets_are_understood(scripts: Scripts, name: str) -> None:
    scripts.run(f"run_pretraining.sh {preset('pretraining', name)} --seed 5")
    assert scripts.training().task == "denoising" and scripts.training().seed == 5


def test_pretraining_needs_ten_arguments(scripts: Scripts) -> None:
    refused(scripts.run("run_pretraining.sh d c.json 0"), "at least 10")
    refused(scripts.run("run_pretraining.sh d c.json 0 1e-3 64 2 fp64 500 50 128"), "PREC")
    assert scripts.calls() == []


MACHINE = {"NNODES": "4", "NODE_RANK": "2", "MASTER_ADDR": "first", "MASTER_PORT": "1234", "RESULTS_DIR": "shared"}
COMMANDS = {
    "finetune.py": "run_summarization.sh d c.json {gpus}",
    "run_eval.py": "run_eval_summarization.sh m 2 {gpus}",
}


@pytest.mark.parametrize("program", COMMANDS)
@pytest.mark.parametrize(
    ("gpus", "environment", "launcher"),
    [
        (8, {}, "--nproc_per_node 8"),
        (0, {}, "--nproc_per_node 1"),
        (0, {"PROCESSES_PER_NODE": "3", "NODE_RANK": "", "SLURM_NODEID": "2"}, "--nproc_per_node 3"),
    ],
)
def test_each_of_many_machines_starts_its_processes(
    scripts: Scripts, program: str, gpus: int, environment: dict[str, str], launcher: str
) -> None:
    """All of them train, and then share the evaluation. Only the first one writes to joblog.log."""
    best = scripts.folder / "shared" / "best_tfmr"
    best.mkdir(parents=True)
    (best / "config.json").touch()  # what the training leaves
    run = scripts.run(COMMANDS[program].format(gpus=gpus), GPUS_PRESENT="8", **MACHINE | environment)
    assert run.returncode == 0, run.stderr
    started = (
        "-m torch.distributed.run --nnodes 4 --rdzv_backend c10d --rdzv_endpoint first:1234 --rdzv_id bart "
        f"--rdzv_conf is_host=0,read_timeout=300 --local_addr ~00002 {launcher} --max_restarts 0 "
    )
    calls = [" ".join(call) for call in scripts.calls()]
    assert calls[0].startswith(f"{started}{ROOT / program} ") and calls[-1].startswith(f"{started}{ROOT}/run_eval.py ")
    for call in calls:
        if "finetune.py" in call:
            arguments = parse_arguments(TrainingArguments, "", call.partition("finetune.py ")[2].split())
            processes, folder = arguments.processes, arguments.run.output_dir
            assert (processes.num_nodes, processes.gpus, folder) == (4, gpus, "shared")
    assert (scripts.folder / "shared" / "joblog_node2.log").read_text() == "ran -m\n" * len(calls)
    assert not (scripts.folder / "shared" / "joblog.log").exists()


PRETRAINING = "run_pretraining.sh d c.json {gpus} 1e-3 64 2 fp32 500 50 128"


@pytest.mark.parametrize("command", [*COMMANDS.values(), PRETRAINING])
def test_several_processes_on_the_cpu_of_one_machine(scripts: Scripts, command: str) -> None:
    assert scripts.run(command.format(gpus=0), PROCESSES_PER_NODE="3").returncode == 0
    for call in scripts.calls():
        assert " ".join(call).startswith(f"{STANDALONE} --nproc_per_node 3 --max_restarts 0 ")


@pytest.mark.parametrize("gpus", [0, 1, 4])
def test_one_machine_that_starts_its_processes_again(scripts: Scripts, gpus: int) -> None:
    """torchrun does, also where finetune.py would start them, or there is one alone; a training then goes on."""
    for program, command in COMMANDS.items():
        run = scripts.run(command.format(gpus=gpus), GPUS_PRESENT="4", MAX_RESTARTS="3", RESULTS_DIR=program)
        assert run.returncode == 0, run.stderr
    for call in scripts.calls():
        started, program, flags = " ".join(call).partition(f"{ROOT}/finetune.py ")
        assert started.startswith(f"{STANDALONE} --nproc_per_node {max(gpus, 1)} --max_restarts 3 ")
        assert not program or parse_arguments(TrainingArguments, "", flags.split()).run.resume
    assert scripts.evaluation().resume and scripts.evaluation().discard_other_journal
    scripts.run("run_eval_summarization.sh m 2 0 --resume", MAX_RESTARTS="3", RESULTS_DIR="here")
    assert scripts.evaluation().resume and not scripts.evaluation().discard_other_journal
    refused(scripts.run("run_summarization.sh d c.json 0 --overwrite_output_dir", MAX_RESTARTS="3"), "MAX_RESTARTS")
    refused(scripts.run("run_summarization.sh d c.json 0", MAX_RESTARTS="often"), "MAX_RESTARTS is 'often'")


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        ({"NODE_RANK": ""}, ["NODE_RANK"]),
        ({"NODE_RANK": "4"}, ["NODE_RANK is 4", "0 to 3"]),
        ({"MASTER_ADDR": ""}, ["MASTER_ADDR"]),
        ({"MASTER_PORT": "http"}, ["MASTER_PORT is 'http'"]),
        ({"RESULTS_DIR": ""}, ["RESULTS_DIR"]),
        ({"NNODES": "0"}, ["NNODES is '0'"]),
        ({"PROCESSES_PER_NODE": "2"}, ["PROCESSES_PER_NODE", "NUM_GPU 0"]),
    ],
)
def test_what_many_machines_need_is_asked_for(scripts: Scripts, missing: dict[str, str], words: list[str]) -> None:
    for command in COMMANDS.values():
        refused(scripts.run(command.format(gpus=2), GPUS_PRESENT="8", **MACHINE | missing), *words)
    assert scripts.calls() == []


def test_many_machines_average_nothing(scripts: Scripts) -> None:
    command = COMMANDS["finetune.py"].format(gpus=2) + " --average_checkpoints 3"
    refused(scripts.run(command, GPUS_PRESENT="8", **MACHINE), "--average_checkpoints: machine 0 averages alone")
    assert scripts.calls() == []


@pytest.mark.parametrize("command", [*COMMANDS.values(), PRETRAINING])
def test_a_results_folder_that_cannot_be_made(scripts: Scripts, command: str) -> None:
    (scripts.folder / "file").touch()
    refused(scripts.run(command.format(gpus=0), RESULTS_DIR="file/results"), "RESULTS_DIR", "file/results", "directory")
    assert scripts.calls() == []


@pytest.mark.parametrize("script", ["run_summarization.sh", "run_eval_summarization.sh"])
def test_the_defaults_that_are_taken_are_said(scripts: Scripts, script: str) -> None:
    """A preset that is mistyped is an empty word; what is then trained is in the line."""
    run = scripts.run(script, GPUS_PRESENT="8")
    listed = re.search("^default: +(.*)$", scripts.run(f"{script} --help").stdout, re.M)[1]
    (line,) = [line for line in run.stderr.splitlines() if line.startswith("defaults used: ")]
    assert [pair.split("=")[1] for pair in line.removeprefix("defaults used: ").split()] == listed.split()
    given = " ".join(listed.split()[:-1])
    assert scripts.run(f"{script} {given}", GPUS_PRESENT="8").stderr == f"defaults used: {line.split()[-1]}\n"
    assert scripts.run(f"{script} {listed}", GPUS_PRESENT="8").stderr == ""


def test_tuning_passes_its_arguments_on(scripts: Scripts) -> None:
    """The model and its configuration stand side by side for Python, as of run_eval.py."""
    flags = "--num_beams 2,4 --fp16 --resume"
    assert scripts.run(f"tune_search.sh m 'my data' c.json {flags}", RESULTS_DIR="tuned").returncode == 0
    ((_, program, *arguments),) = scripts.calls()
    assert program == "utils.commands.tune_search" and (scripts.folder / "tuned" / "joblog.log").exists()
    read = parse_arguments(TuningArguments, "", arguments)
    assert (read.model.model, read.model.config, read.texts.data_dir) == ("m", "c.json", "my data")
    assert (read.save_path, read.resume, read.precision.name) == ("tuned", True, "fp16")
    assert read.grid.given_values() == {"num_beams": [2, 4]}
    evaluation = read.as_evaluation()
    assert (evaluation.texts.type_path, evaluation.generation.search, evaluation.resume) == ("val", {}, True)


def test_tuning_refuses(scripts: Scripts) -> None:
    refused(scripts.run("tune_search.sh m d"), "needs MODEL, DATA_DIR and CONFIG, got 2 arguments")
    refused(scripts.run("tune_search.sh m d c e"), "remove e")
    refused(scripts.run("tune_search.sh m d c --resume"), "--resume", "RESULTS_DIR")
    assert scripts.calls() == [] and not (scripts.folder / "results").exists()


def test_a_relative_python(scripts: Scripts) -> None:
    """Also where the script changes folder."""
    assert scripts.run("run_summarization.sh d c.json 0", PYTHON="./recorder").returncode == 0
    assert len(scripts.calls()) == 2
    assert scripts.run("quickstart.sh", PYTHON="./recorder", FAILING="-m").returncode == 7
    assert "utils.corpora.docstrings" in scripts.calls()[2]


def programs_and_flags(scripts: Scripts) -> list[tuple[str, list[str]]]:
    """Name the program of every call, and the flags behind its positional arguments."""
    named = []
    for call in scripts.calls():
        program, *arguments = call[1:] if call[0] == "-m" else call
        first = next((place for place, each in enumerate(arguments) if each.startswith("--")), len(arguments))
        named.append((program.rpartition("/")[2], arguments[first:]))
    return named


def test_the_quickstart_gives_each_program_the_flags_that_it_needs(scripts: Scripts) -> None:
    flags = "--seed 7 --text_column=body --controls --summary_column head --rouge_tokenizer unicode --bertscore bert"
    run = scripts.run(f"quickstart.sh {flags}", DATA_DIR="my data", RESULTS_DIR="r")
    assert run.returncode == 0, run.stderr
    calls = programs_and_flags(scripts)
    assert [program for program, _ in calls] == [
        *("finetune.py", "run_eval.py"),
        *("run_eval.py", "utils.commands.first_sentence"),  # baselines
        *("run_eval.py", "finetune.py", "run_eval.py"),  # controls
        "utils.commands.quickstart_report",
    ]
    columns = ["--text_column=body", "--summary_column", "head"]
    rouge = ["--rouge_tokenizer", "unicode"]
    for program, given in calls:
        if program == "finetune.py":
            assert given[-9:] == ["--seed", "7", *columns, *rouge, "--bertscore", "bert"]
            assert "--controls" not in given
        elif program == "run_eval.py":
            without = [flag for flag in given if flag != "--shuffle_sources"]
            assert without[-7:] == [*columns, *rouge, "--bertscore", "bert"]
    assert [("--shuffle_sources" in given) for program, given in calls if program == "run_eval.py"] == [0, 0, 1, 0]
    assert calls[3][1] == [*columns, *rouge]
    assert calls[-1][1] == [*columns, "--own_data", "--controls"]
    data = {each for call in scripts.calls() for each in call if each.endswith("my data")}
    assert data == {"my data"}  # it is not there: as it was given


def test_the_quickstart_without_controls_and_on_the_docstrings(scripts: Scripts) -> None:
    assert scripts.run("quickstart.sh --seed 7", RESULTS_DIR="r").returncode == 0
    corpus, *others = programs_and_flags(scripts)
    assert corpus[0] == "utils.corpora.docstrings" and scripts.calls()[0][2] == "data/docstrings"
    assert [program for program, _ in others] == [
        *("finetune.py", "run_eval.py", "run_eval.py"),
        *("utils.commands.first_sentence", "utils.commands.quickstart_report"),
    ]
    assert others[-1][1] == []


THIN = ["compare_runs.sh a b", "export_hf.sh a b", "make_student.sh a b", "pseudo_labels.sh a b c", "summarize.sh a"]


@pytest.mark.parametrize("command", [*THIN, "get_data.sh"])
def test_a_folder_with_modules_of_the_same_names(scripts: Scripts, command: str) -> None:
    scripts.environment.pop("PYTHONPATH", None)
    write_foreign_modules(scripts.folder)
    refused(scripts.run(f"{command} --no_such_flag", PYTHON=sys.executable), "--no_such_flag")


def test_cdpath(scripts: Scripts) -> None:
    """With it cd prints where it goes."""
    command = ["bash", "scripts/run_eval_summarization.sh", "m", "2", "0"]
    environment = scripts.environment | {"CDPATH": str(ROOT), "RESULTS_DIR": str(scripts.folder / "results")}
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
    assert scripts.calls()[0][0] == str(ROOT / "run_eval.py")


@pytest.mark.parametrize("code", [0, 2, 7])
def test_a_log_that_cannot_be_written(scripts: Scripts, code: int) -> None:
    """On a full disk: what counts is how the program ends, and all that it prints is shown."""
    with small_disk(scripts.folder / "disk", "1m") as disk:
        fill(disk, 0)
        failing = {"FAILING": "run_eval.py", "EXIT_CODE": str(code)}
        run = scripts.run("run_eval_summarization.sh m 1 0", RESULTS_DIR=str(disk / "run"), **failing)
        assert (run.returncode, run.stdout) == (code, "ran run_eval.py\n")
        assert "joblog.log: No space left on device" in run.stderr
        assert (disk / "run").exists() == (code != 2)


HANGING = """#!/usr/bin/env bash
[[ $1 != -P ]] || shift
[[ $1 != -c ]] || { echo "run 0 fp32"; exit; }
trap 'echo told >"$CALLS/told"; exit 143' TERM
echo $$ >"$CALLS/.pid" && mv "$CALLS/.pid" "$CALLS/pid"
while :; do sleep 0.05; done
"""


@pytest.mark.parametrize(
    "command",
    ["quickstart.sh", "run_inference_benchmark.sh", "run_training_benchmark.sh", "verify_published.sh cnn 0"],
)
def test_told_to_end_a_script_of_scripts_ends_what_it_started(scripts: Scripts, command: str) -> None:
    Path(scripts.environment["PYTHON"]).write_text(HANGING)
    script, *arguments = command.split()
    process = subprocess.Popen(
        ["bash", str(ROOT / "scripts" / script), *arguments],
        cwd=scripts.folder,
        env=scripts.environment | {"RESULTS_DIR": str(scripts.folder / "results"), "BART_DATA": "data"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while not (scripts.calls_folder / "pid").exists():
        assert process.poll() is None
        time.sleep(0.01)
    pid = int((scripts.calls_folder / "pid").read_text())
    try:
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 143
        assert (scripts.calls_folder / "told").exists() and not Path(f"/proc/{pid}").exists()
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def test_told_to_end_a_script_waits_for_its_program_and_evaluates_nothing(scripts: Scripts) -> None:
    """As when SLURM tells all processes: what the program then still prints is in the log."""
    recorder = Path(scripts.environment["PYTHON"])
    recorder.write_text(f"{RECORDER}\ntrap 'echo saved; exit 0' TERM\necho training\nwhile :; do sleep 0.05; done\n")
    process = subprocess.Popen(
        ["bash", str(ROOT / "scripts" / "run_summarization.sh"), "d", "c.json", "0"],
        cwd=scripts.folder,
        env=scripts.environment | {"RESULTS_DIR": "here"},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    while process.stdout.readline() != "training\n":
        pass
    os.killpg(process.pid, signal.SIGTERM)
    assert process.wait(timeout=30) == 143
    assert (scripts.folder / "here" / "joblog.log").read_text().endswith("\nsaved\n")
    assert len(scripts.calls()) == 1


@pytest.mark.parametrize("script", ["run_summarization.sh", "setup_env.sh", "test.sh", "quickstart.sh"])
def test_another_system_is_refused(scripts: Scripts, script: str) -> None:
    """bash takes the system's name from its environment."""
    refused(scripts.run(script, OSTYPE="darwin23"), "Linux", "darwin23")
    assert scripts.calls() == []


def test_ctrl_c_on_a_terminal(scripts: Scripts) -> None:
    """Also on one that stops what writes to it from the background (stty tostop)."""
    recorder = Path(scripts.environment["PYTHON"])
    recorder.write_text(f"{RECORDER}\ntrap 'echo saved; exit 3' INT\necho training\nwhile :; do sleep 0.05; done\n")
    command = f"stty tostop; exec bash {ROOT / 'scripts' / 'run_summarization.sh'} d c.json 0"
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(scripts.folder)
        os.execvpe("bash", ["bash", "-c", command], scripts.environment | {"RESULTS_DIR": "here"})
    shown = b""
    while b"training" not in shown:
        shown += os.read(terminal, 1000)
    os.write(terminal, b"\x03")
    while b"saved" not in shown:
        shown += os.read(terminal, 1000)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 130
    assert (scripts.folder / "here" / "joblog.log").read_text().endswith("\nsaved\n")
    assert len(scripts.calls()) == 1


def test_a_program_that_reads_the_terminal_finds_nothing(scripts: Scripts) -> None:
    """In the background, the terminal would stop it."""
    Path(scripts.environment["PYTHON"]).write_text(f"{RECORDER}\nread -r answer\necho read: $?\n")
    script = str(ROOT / "scripts" / "run_eval_summarization.sh")
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(scripts.folder)
        os.execvpe("bash", ["bash", script, "m", "2", "0"], scripts.environment)
    shown = b""
    while b"read: 1" not in shown:
        assert select.select([terminal], [], [], 30)[0], shown
        shown += os.read(terminal, 1000)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_of_torchrun_the_processes_that_it_started_are_told(scripts: Scripts) -> None:
    """It would give them 30 seconds itself, and end at once when told again."""
    recorder = Path(scripts.environment["PYTHON"])
    rank = "(trap 'echo rank told; exit 4' TERM; while :; do sleep 0.05; done) &"
    recorder.write_text(f"{RECORDER}\ntrap 'echo torchrun told' TERM\n{rank}\nsleep 0.2\necho training\nwait\nexit 1\n")
    process = subprocess.Popen(
        ["bash", str(ROOT / "scripts" / "run_summarization.sh"), "d", "c.json", "0"],
        cwd=scripts.folder,
        env=scripts.environment | {"RESULTS_DIR": "here", "PROCESSES_PER_NODE": "2"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    while process.stdout.readline() != "training\n":
        pass
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait(timeout=30) == 143
    assert (scripts.folder / "here" / "joblog.log").read_text().endswith("\nrank told\n")
