"""What a resumed training may change."""

from pathlib import Path

import pytest

from bart.errors import InputError
from utils.checkpoint.resume import changes, check_unchanged, with_batch_shapes
from utils.cli.options import from_values
from utils.cli.training_args import OptimizationSettings, TrainingArguments


@pytest.fixture
def stored(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    flags = TrainingArguments().to_dict()
    monkeypatch.setattr("utils.checkpoint.resume.stored_arguments", lambda checkpoint: flags)
    return flags


def flags(**values: object) -> dict[str, object]:
    return from_values(TrainingArguments, values).to_dict()


def test_a_flag_that_the_steps_depend_on_stays(stored: dict[str, object]) -> None:
    check_unchanged(flags(max_steps=7, num_workers=2), Path("some.ckpt"))
    with pytest.raises(InputError, match="--seed was 42 and is now 7; it cannot change within a run"):
        check_unchanged(flags(seed=7), Path("some.ckpt"))
    assert changes(flags(max_steps=7), Path("some.ckpt")) == "--resume: --max_steps was 20000 and is now 7"


@pytest.mark.parametrize("flag", ["add_tokens", "pairs_dir"])
def test_what_is_compared_by_content_may_have_another_path(stored: dict[str, object], flag: str) -> None:
    """It cannot be left out."""
    stored[flag] = "one/name"
    check_unchanged(flags(**{flag: "../another/name"}), Path("some.ckpt"))
    with pytest.raises(InputError, match=f"--{flag} was one/name and is now None"):
        check_unchanged(flags(), Path("some.ckpt"))


def test_the_tokenizer_is_the_run_s_own(stored: dict[str, object]) -> None:
    another = flags(tokenizer_name_or_path="../another")
    check_unchanged(another, Path("some.ckpt"))
    line = "--resume: --tokenizer_name_or_path was None and is now ../another, which is ignored"
    assert changes(another, Path("some.ckpt")) == f"{line} (the results folder has the run's own)"


def test_a_flag_that_the_run_did_not_have_stays_at_its_default(stored: dict[str, object]) -> None:
    del stored["adam_beta2"], stored["dropout"], stored["amp_backend"]
    check_unchanged(flags(dropout=0.3, amp_backend="native"), Path("some.ckpt"))  # what was found out is not known
    with pytest.raises(InputError, match=r"--adam_beta2 was 0\.999 and is now 0\.98"):
        check_unchanged(flags(adam_beta2=0.98), Path("some.ckpt"))


def test_a_run_before_the_flag_had_the_models_positions(stored: dict[str, object]) -> None:
    """A part of the flags may be compared alone."""
    del stored["max_positions"]
    check_unchanged({"max_positions": None}, Path("some.ckpt"))
    with pytest.raises(InputError, match="--max_positions was None and is now 4096"):
        check_unchanged({"max_positions": 4096}, Path("some.ckpt"))


def test_the_shapes_of_batches_stay_those_of_the_run(stored: dict[str, object]) -> None:
    """Wherever it is resumed; without a checkpoint they follow the device."""
    auto, few = OptimizationSettings(), OptimizationSettings(batch_shapes="few")
    assert with_batch_shapes(auto, True, None).batch_shapes == with_batch_shapes(few, False, None).batch_shapes == "few"
    assert with_batch_shapes(auto, False, None).batch_shapes == "exact"
    stored["batch_shapes"] = "few"
    assert with_batch_shapes(auto, False, Path("some.ckpt")).batch_shapes == "few"
    del stored["batch_shapes"]
    assert with_batch_shapes(auto, True, Path("some.ckpt")).batch_shapes == "exact"
    with pytest.raises(InputError, match="--batch_shapes was exact and is now few"):
        check_unchanged(flags(batch_shapes="few"), Path("some.ckpt"))
