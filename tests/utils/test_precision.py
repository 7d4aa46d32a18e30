import pytest
import torch

from bart.errors import InputError
from utils.args import TrainingArguments
from utils.precision import (
    apply_matmul_precision,
    check_precision,
    evaluation_dtype,
    precision_name,
    trainer_precision,
)


@pytest.mark.parametrize(
    ("flags", "trainer", "dtype", "name"),
    [
        ({}, "32-true", torch.float32, "fp32"),
        ({"fp16": True}, "16-mixed", torch.float16, "fp16"),
        ({"fp16": True, "amp_level": "O0"}, "32-true", torch.float16, "fp16"),
        ({"bf16": True}, "bf16-mixed", torch.bfloat16, "bf16"),
        ({"tf32": True}, "32-true", torch.float32, "tf32"),
    ],
)
def test_names(flags: dict[str, object], trainer: str, dtype: torch.dtype, name: str) -> None:
    arguments = TrainingArguments(**flags)
    assert (trainer_precision(arguments), evaluation_dtype(arguments), precision_name(arguments)) == (
        trainer,
        dtype,
        name,
    )


@pytest.mark.parametrize("flag", ["fp16", "tf32"])
def test_a_cpu_has_not_all(flag: str) -> None:
    with pytest.raises(InputError, match=f"--{flag}: "):
        check_precision(TrainingArguments(**{flag: True}), on_gpu=False)
    check_precision(TrainingArguments(bf16=True), on_gpu=False)


def test_tf32_is_switched() -> None:
    before = torch.get_float32_matmul_precision()
    try:
        apply_matmul_precision(TrainingArguments(tf32=True))
        assert torch.get_float32_matmul_precision() == "high"
        apply_matmul_precision(TrainingArguments())
        assert torch.get_float32_matmul_precision() == "highest"
    finally:
        torch.set_float32_matmul_precision(before)
