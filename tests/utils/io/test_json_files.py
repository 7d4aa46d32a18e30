from pathlib import Path

import numpy as np
import pytest

from bart.errors import InputError
from utils.io.json_files import latency_summary, read_json, write_json


def test_what_is_written_is_read(tmp_path: Path) -> None:
    content = {"rouge1": 0.1 + 0.2, "text": "日本", "history": [{"step": 1}], "none": None}
    write_json(tmp_path / "report.json", content)
    assert read_json(tmp_path / "report.json") == content
    assert "日本" in (tmp_path / "report.json").read_text(encoding="utf-8")


def test_numbers_that_json_cannot_express_are_refused(tmp_path: Path) -> None:
    write_json(tmp_path / "report.json", 1)
    with pytest.raises(ValueError):
        write_json(tmp_path / "report.json", {"loss": float("nan")})
    assert read_json(tmp_path / "report.json") == 1


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "cut.json").write_text('{"a": ')
    for name in ("cut.json", "missing.json"):
        with pytest.raises(InputError, match=name):
            read_json(tmp_path / name)


def test_latencies() -> None:
    summary = latency_summary(np.arange(1.0, 102.0).tolist())
    assert summary == {"mean": 51.0, "p50": 51.0, "p90": 91.0, "p95": 96.0, "p99": 100.0}
