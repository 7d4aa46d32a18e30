import logging
import os
import resource
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from bart.configuration.configuration_bart import BartConfig
from bart.configuration.generation_config import GenerationConfig
from bart.errors import InputError, OutOfMemory
from utils.cli.evaluation_args import EvaluationArguments
from utils.cli.options import above, option, options_of, to_values
from utils.cli.parser import build_parser, parse_arguments
from utils.cli.run import ARGUMENT_NAMES, run_command
from utils.cli.training_args import TrainingArguments

POSITIONALS = ["model", "config.json", "data", "results"]


def training(*flags: str) -> TrainingArguments:
    return parse_arguments(TrainingArguments, "", flags)


def evaluation(*flags: str) -> EvaluationArguments:
    return parse_arguments(EvaluationArguments, "", [*POSITIONALS, *flags])


def test_defaults_live_in_the_class() -> None:
    assert training() == TrainingArguments()


# Flags that are refused without others, and these others.
DENOISING = ["--task", "denoising", "--no-freeze_embeds"]
RERANK = ["--rerank", "consensus"]
BERTSCORE = ["--bertscore", "bert"]
NEEDED = {
    TrainingArguments: {"task": DENOISING, "pairs_dir": DENOISING, "bertscore_layer": BERTSCORE},
    EvaluationArguments: {
        **dict.fromkeys(["rerank_utility", "rerank_beams", "rerank_samples", "rerank_temperature"], RERANK),
        "bertscore_layer": BERTSCORE,
    },
}


def test_every_flag_reaches_its_field() -> None:
    """Every flag of both programs is given a value other than its default, one by one."""
    for parse, arguments_class in ((training, TrainingArguments), (evaluation, EvaluationArguments)):
        for argument in options_of(arguments_class):
            if "settings" in argument.metadata or argument.metadata["positional"]:
                continue
            flag, expected = _other_value(argument, arguments_class)
            needed = NEEDED[arguments_class].get(argument.name, [])
            assert to_values(parse(*flag, *needed))[argument.name] == expected, argument.name


def _other_value(argument: Any, arguments_class: type) -> tuple[list[str], Any]:
    name = f"--{argument.name}"
    if argument.name == "logger":
        return [name, "csv"], "csv"
    if argument.name == "split":
        return [name, "0.8,0.1,0.1"], "0.8,0.1,0.1"
    if argument.type is bool:
        return ([f"--no-{argument.name}"], False) if argument.default else ([name], True)
    if argument.metadata["choices"]:
        other = next(choice for choice in argument.metadata["choices"] if choice != argument.default)
        return [name, other], other
    if "float" in str(argument.type):
        return [name, "0.25"], 0.25
    return [name, "3"], 3 if "int" in str(argument.type) else "3"


def test_flags_are_named_with_the_arguments_of_the_script(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(ARGUMENT_NAMES, "fp16=PREC learning_rate=LR")
    monkeypatch.setattr("sys.argv", ["finetune.py", "--fp16", "--bf16"])
    assert run_command(TrainingArguments, "", print) == 2
    said = "error: --fp16 (PREC) and --bf16 exclude each other; give one of them\n"
    assert capsys.readouterr().err == said
    monkeypatch.delenv(ARGUMENT_NAMES)
    assert run_command(TrainingArguments, "", print) == 2
    assert capsys.readouterr().err == said.replace(" (PREC)", "")


@pytest.fixture
def messages_of_the_library() -> Iterator[None]:
    """As they were before, afterwards."""
    logger = logging.getLogger("bart")
    level = logger.level
    yield
    logger.setLevel(level)


@pytest.mark.usefixtures("messages_of_the_library")
@pytest.mark.parametrize(
    ("rank", "local_rank", "error", "says"),
    [(1, 0, InputError, True), (1, 1, InputError, False), (3, 1, OutOfMemory, True), (0, 0, OutOfMemory, True)],
)
def test_of_the_processes_of_a_machine_one_says_the_error(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    rank: int,
    local_rank: int,
    error: type[InputError],
    says: bool,
) -> None:
    """The first process prints an error that all of them find; OutOfMemory is printed by the process it happens to."""

    def fail(_: TrainingArguments) -> None:
        raise error("what is wrong")

    monkeypatch.setenv("RANK", str(rank))
    monkeypatch.setenv("LOCAL_RANK", str(local_rank))
    monkeypatch.setattr("sys.argv", ["finetune.py"])
    assert run_command(TrainingArguments, "", fail) == 2
    assert capsys.readouterr().err == ("error: what is wrong\n" if says else "")


@pytest.fixture
def few_files() -> Iterator[int]:
    """A limit that leaves this process no descriptor."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    yield 3
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("messages_of_the_library")
@pytest.mark.parametrize("named", [True, False])
def test_a_limit_is_said_by_every_process(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], few_files: int, named: bool
) -> None:
    """Whether or not the error names what could not be done."""

    def fail(_: TrainingArguments) -> None:
        try:
            open(os.devnull).close()
        except OSError as error:
            if named:
                raise InputError("cannot be read") from error
            raise

    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr("sys.argv", ["finetune.py"])
    assert run_command(TrainingArguments, "", fail) == 2
    limit = f"no more than {few_files} files can be open at once: raise this limit (ulimit -n)"
    assert capsys.readouterr().err == f"error: {'cannot be read; ' * named}{limit}\n"


def test_other_errors_keep_their_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: TrainingArguments) -> None:
        raise FileNotFoundError("a bug")

    monkeypatch.setattr("sys.argv", ["finetune.py"])
    with pytest.raises(FileNotFoundError):
        run_command(TrainingArguments, "", fail)


def test_every_training_flag_of_the_recipe_is_there() -> None:
    """The list has the specification's parameters, and the flags that the reference's training script sets."""
    recipe = """
        config_path warmup_steps max_steps data_dir gpus learning_rate n_val train_batch_size
        gradient_accumulation_steps val_check_interval max_source_length max_target_length val_max_target_length
        eval_max_gen_length weight_decay dropout early_stopping_patience amp_level
        sortish_sampler lr_scheduler label_smoothing attention_dropout gradient_clip_val freeze_embeds seed min_epochs
        num_sanity_val_steps
    """
    assert set(recipe.split()) <= {argument.name for argument in options_of(TrainingArguments)}


def test_search_settings_are_collected() -> None:
    given = evaluation(
        "--length_penalty", "2", "--early_stopping", "never", "--no-do_sample", "--bad_words_ids", "[[5]]"
    )
    assert given.generation.search == {
        "length_penalty": 2.0, "early_stopping": "never", "do_sample": False, "bad_words_ids": [[5]]
    }  # fmt: skip
    assert evaluation("--early_stopping", "true").generation.search == {"early_stopping": True}


def test_every_search_setting_has_a_flag() -> None:
    flags = build_parser(EvaluationArguments, "").format_help()
    left_out = {"output_scores", "output_logits", "return_dict_in_generate"}
    assert all((f"--{name}" in flags) == (name not in left_out) for name in GenerationConfig.names())
    for flag in ("--num_beams", "--eval_beams"):
        assert evaluation(flag, "3").generation.eval_beams == 3
    assert evaluation("--max_length", "9").generation.eval_max_gen_length == 9


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--max_steps", "0"], "--max_steps 0"),
        (["--n_val", "0"], "--n_val 0"),
        (["--n_val", "-2"], "--n_val -2"),
        (["--dropout", "1"], "--dropout 1.0"),
        (["--learning_rate", "0"], "--learning_rate 0.0"),
        (["--learning_rate", "nan"], "--learning_rate: invalid number value: 'nan'"),
        (["--label_smoothing", "-0.1"], "--label_smoothing -0.1"),
        (["--val_check_interval", "0"], "--val_check_interval 0.0"),
        (["--max_steps", "many"], "--max_steps: invalid int value: 'many'"),
        (["--lr_scheduler", "wavy"], "--lr_scheduler: invalid choice: 'wavy'"),
        (["--max_step", "3"], "unrecognized arguments: --max_step 3"),
        (["--gpus", "-1"], "--gpus -1"),
        (["--seed", "2147483648"], "--seed 2147483648"),
        (["--fp16", "--bf16"], "--fp16 and --bf16 exclude each other"),
        (["--resume", "--overwrite_output_dir"], "--resume and --overwrite_output_dir exclude each other"),
        (["--model_name_or_path", "scratch"], "--config_path"),
        (["--model_name_or_path", "scratch", "--config_path", "c"], "--tokenizer_name_or_path"),
        (["--model_name_or_path=scratch", "--config_path=c", "--tokenizer_name_or_path=t"], "--no-freeze_embeds"),
    ],
)  # fmt: skip
def test_impossible_values_are_named(flags: list[str], named: str) -> None:
    with pytest.raises(InputError) as refused:
        training(*flags)
    assert named in str(refused.value) and "\n" not in str(refused.value)


def test_missing_positionals_are_named() -> None:
    with pytest.raises(InputError, match="CONFIG, DATA_DIR, SAVE_PATH"):
        parse_arguments(EvaluationArguments, "", ["model"])


def test_help_says_every_default() -> None:
    """The help text of every flag is there, with the default if there is one."""
    text = " ".join(build_parser(TrainingArguments, "Do something.").format_help().split())
    assert "Do something." in text
    unbroken = text.replace(" ", "")  # lines end at hyphens, too
    for argument in options_of(TrainingArguments):
        assert argument.metadata["help"].split(" (default")[0].replace(" ", "") in unbroken
        if argument.default is not None and not isinstance(argument.default, bool):
            assert f"(default: {argument.default})" in text
    assert "--sortish_sampler, --no-sortish_sampler" in text and "(default: yes)" in text


def test_a_new_option_needs_one_line() -> None:
    @dataclass
    class Arguments:
        share: float = option(0.5, "group", "a share of 100%", check=above(0))

        def check(self) -> None:
            pass

    assert parse_arguments(Arguments, "", ["--share", "2"]).share == 2.0
    assert "a share of 100% (default: 0.5)" in build_parser(Arguments, "").format_help()


def test_lengths_come_from_the_configuration() -> None:
    config = BartConfig(max_position_embeddings=100, max_length=30)
    names = ("max_source_length", "max_target_length", "val_max_target_length", "eval_max_gen_length")
    given = training().with_lengths_of(config).to_dict()
    assert [given[name] for name in names] == [100, 30, 30, 30]
    given = training("--max_target_length", "40", "--eval_max_gen_length", "50").with_lengths_of(config).to_dict()
    assert [given[name] for name in names] == [100, 40, 40, 50]
    with pytest.raises(InputError, match="--max_source_length 101: the model has 100 positions"):
        training("--max_source_length", "101").with_lengths_of(config)


def test_the_metric_follows_the_validation() -> None:
    assert training().validation.val_metric == "loss"
    assert training("--eval_beams", "2").validation.val_metric == "rouge2"
    assert training("--eval_beams", "2", "--val_metric", "rouge1").validation.val_metric == "rouge1"


def test_help_explains_every_flag_in_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """Groups are in order, every flag has a help text, and no line is wider than the terminal."""
    monkeypatch.setenv("COLUMNS", "100")
    for arguments_class in (TrainingArguments, EvaluationArguments):
        parser = build_parser(arguments_class, "Do something.")
        text = parser.format_help()
        assert max(map(len, text.splitlines())) <= 98
        assert text.index("\nmodel:") < text.index("\ndata:") < text.index("\nsearch") < text.index("\nprecision")
        for group in parser._action_groups:
            for action in group._group_actions:
                assert len((action.help or "").partition("(default")[0]) > 8, action.option_strings
    usage = build_parser(EvaluationArguments, "").format_usage()
    assert usage.split()[2:] == ["MODEL", "CONFIG", "DATA_DIR", "SAVE_PATH", "[--flag", "VALUE", "...]"]


@pytest.mark.parametrize("argument", ["", "a b"])
def test_what_is_unknown_is_quoted(argument: str) -> None:
    with pytest.raises(InputError, match=f"^unrecognized arguments: '{argument}'; --help lists all arguments$"):
        training(argument)


@pytest.mark.parametrize(
    ("flag", "meant"), [("--max_step=3", "--max_steps"), ("--eval_beam 2", "--eval_beams"), ("--nothing_like_it", None)]
)
def test_a_similar_flag_is_suggested(flag: str, meant: str | None) -> None:
    with pytest.raises(InputError) as refused:
        training(*flag.split())
    assert flag.split()[0] in str(refused.value)
    assert (f"did you mean {meant}?" in str(refused.value)) == (meant is not None)
