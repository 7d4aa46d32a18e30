import platform

import pytest
import torch

from bart.errors import InputError
from utils.cli.shared_args import PrecisionSettings
from utils.runtime.precision import apply_matmul_precision, check_precision, evaluation_dtype


@pytest.mark.parametrize(
    ("flags", "dtype", "name"),
    [
        ({}, torch.float32, "fp32"),
        ({"fp16": True}, torch.float16, "fp16"),
        ({"bf16": True}, torch.bfloat16, "bf16"),
        ({"tf32": True}, torch.float32, "tf32"),
    ],
)
def test_names(flags: dict[str, object], dtype: torch.dtype, name: str) -> None:
    precision = PrecisionSettings(**flags)
    assert (evaluation_dtype(precision.name), precision.name) == (dtype, name)


@pytest.mark.parametrize("flag", ["fp16", "tf32"])
def test_a_cpu_has_not_all(flag: str) -> None:
    with pytest.raises(InputError, match=f"--{flag}: "):
        check_precision(PrecisionSettings(**{flag: True}).name, on_gpu=False)
    check_precision(PrecisionSettings(bf16=True).name, on_gpu=False)


@pytest.mark.parametrize(("supported", "lines"), [(False, 1), (True, 0)])
def test_warns_of_emulated_bfloat16(
    supported: bool, lines: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """torch's answers are replaced, so that the processor of the test does not matter."""
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: supported)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    check_precision(PrecisionSettings(bf16=True).name, on_gpu=False)
    assert capsys.readouterr().out.count("warning: --bf16: this CPU has no instructions for it") == lines
    check_precision(PrecisionSettings().name, on_gpu=False)
    assert capsys.readouterr().out == ""


def test_tf32_is_switched() -> None:
    before = torch.get_float32_matmul_precision()
    try:
        apply_matmul_precision(PrecisionSettings(tf32=True).name)
        assert torch.get_float32_matmul_precision() == "high"
        apply_matmul_precision(PrecisionSettings().name)
        assert torch.get_float32_matmul_precision() == "highest"
    finally:
        torch.set_float32_matmul_precision(before)
