"""The comparison with other systems does the work it says, on a tiny model."""

from pathlib import Path

import pytest

from scripts.benchmark.compare_generation import CompareArguments, compare, make_sources
from scripts.benchmark.profile_generation import ProfileArguments, profile
from utils.io.json_files import read_json

TINY = {"shape": "tiny", "vocab_size": 300, "systems": "ours,transformers", "rounds": 1, "threads": 1, "apart": False}


def results(tmp_path: Path, **changes: object) -> list[dict[str, object]]:
    compare(CompareArguments(**{**TINY, **changes, "json": str(tmp_path / "report.json")}))
    return read_json(tmp_path / "report.json")["results"]


def test_padded_outputs_have_the_stated_length(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And both systems write the same ones, in every precision."""
    found = results(tmp_path, precisions="fp32,bf16", batch_size=3, source_length=20, target_length=9)
    assert [result["precision"] for result in found] == ["fp32", "fp32", "bf16", "bf16"]
    assert [result["output_tokens"][-1] for result in found] == [7] * 4  # start and end are not counted
    assert found[1]["same_outputs"] == 1 and found[0]["times_the_first"] == 1
    assert all(result["seconds"] > 0 and result["batch_size"] == 3 for result in found)
    assert capsys.readouterr().out.count("transformers 5.") == 2


@pytest.mark.slow
def test_systems_in_processes_of_their_own(tmp_path: Path) -> None:
    found = results(tmp_path, apart=True, precisions="bf16", batch_size=3, source_length=20, target_length=9)
    assert [result["output_tokens"][-1] for result in found] == [7] * 2 and found[0]["seconds"] > 0


def test_natural_outputs_end_by_themselves(tmp_path: Path) -> None:
    found = results(tmp_path, mode="natural", documents=6, natural_batch_sizes="2,4", target_length=30, eos_bias=3.0)
    assert found[1]["same_outputs"] == 1 and found[0]["mean_output_tokens"] < 20
    assert all(result["batch_size"] in (2, 4) for result in found)


def test_the_preset_is_the_published_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Greedy, 128 new tokens, three batch sizes, beside the published figures; small by flags that are given."""
    found = results(tmp_path, preset="tensorrt_llm", systems="ours,transformers", target_length=9)
    assert [result["batch_size"] for result in found] == [32, 32, 64, 64, 128, 128]
    assert {result["precision"] for result in found} == {"bf16"}
    assert {result["output_tokens"][-1] for result in found} == {7}
    printed = [line for line in capsys.readouterr().out.splitlines() if "on an H100" in line]
    assert len(printed) == 6 and "batch 64" in printed[2] and "published for TensorRT-LLM on an H100: 254" in printed[2]
    (work,) = {(one.beams, one.target_length, one.mode) for one in CompareArguments(preset="tensorrt_llm").works()}
    assert work == (1, 129, "uniform")
    lengths = [len(source) for source in make_sources(CompareArguments(preset="tensorrt_llm").works()[2])]
    assert len(lengths) == 128 and min(lengths) >= 260 and 430 < max(lengths) <= 440


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_greedy_search(precision: str, tmp_path: Path) -> None:
    found = results(tmp_path, beams=1, precisions=precision, batch_size=3, source_length=20, target_length=9)
    assert found[1]["same_outputs"] == 1 and found[0]["sequences_per_second"] > 0


def test_natural_sources_have_many_lengths() -> None:
    lengths = [len(source) for source in make_sources(CompareArguments(mode="natural"))]
    assert len(lengths) == 64 and len(set(lengths)) > 50 and min(lengths) >= 100 and max(lengths) <= 900


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_profile_has_all_parts(precision: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = {"shape": "tiny", "batch_size": 2, "source_length": 20, "target_length": 9, "rounds": 2}
    profile(ProfileArguments(precision=precision, **arguments))
    rows = {line[:26].strip(): line[26:].split() for line in capsys.readouterr().out.splitlines()[1:]}
    assert rows["encoder"][2] == "1" and rows["decoder layers"][2] == "16" and rows["output layer"][2] == "8"
    assert rows["their self-attention"][2] == rows["their cross-attention"][2] == "16"
    shares = [float(rows[part][1].rstrip("%")) for part in ("encoder", "decoder layers", "output layer")]
    assert all(share > 0 for share in shares)
    assert sum(shares) + float(rows["keys, rules, beams"][1].rstrip("%")) == pytest.approx(100, abs=0.3)
