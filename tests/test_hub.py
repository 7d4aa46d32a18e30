"""A model's files from the hub: what looks like a path is not asked for, and a hub that is silent is not waited for."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import pytest

from bart import hub as hub_module
from tests.loopback_hub import LoopbackHub

ROOT = Path(__file__).parents[1]
FIND = """
import sys
from bart.errors import InputError
from bart.hub import find_file
name, *files = sys.argv[1:]
for file in files:
    try:
        path = find_file(name, file)
        print(path and path.name)
    except InputError as error:
        print("error:", error)
"""


def find(environment: dict[str, str], name: str, *files: str, folder: Path) -> tuple[list[str], float]:
    """Look for files in a process of its own. Returns a line for each of them, and the seconds that it took."""
    start = time.monotonic()
    process = subprocess.run(
        [sys.executable, "-c", FIND, name, *files],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        cwd=folder, check=True, capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert process.stderr == ""
    return process.stdout.splitlines(), time.monotonic() - start


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[LoopbackHub]:
    (tmp_path / "hub" / "team" / "model").mkdir(parents=True)
    (tmp_path / "hub" / "team" / "model" / "config.json").write_text("{}")
    with LoopbackHub(tmp_path / "hub") as hub:
        yield hub


def test_a_path_whose_folder_is_there_is_not_asked_for(hub: LoopbackHub, tmp_path: Path) -> None:
    (tmp_path / "results" / "run_1").mkdir(parents=True)
    for name in ("results/run_2", "./run_2", "results/run_1/best", "nowhere/model.ckpt"):
        (line,), _ = find(hub.environment(tmp_path / "cache"), name, "config.json", folder=tmp_path)
        assert line.startswith(f"error: {name}: no such folder or file here")
        assert line.endswith("; give a folder, a .ckpt file or a hub id such as facebook/bart-large")
        assert ("(did you mean results/run_1?)" in line) == (name == "results/run_2")
        assert ("; the folder results is here, so this is read as a path; " in line) == (name == "results/run_2")
    assert hub.requests == []


def test_a_model_of_the_cache_is_found_beside_a_folder_of_its_owners_name(hub: LoopbackHub, tmp_path: Path) -> None:
    environment = hub.environment(tmp_path / "cache")
    assert find(environment, "team/model", "config.json", folder=tmp_path)[0] == ["config.json"]
    (tmp_path / "team").mkdir()
    assert find(environment, "team/model", "config.json", "other.json", folder=tmp_path)[0] == ["config.json", "None"]
    hub.close()
    assert find(environment, "team/model", "config.json", "other.json", folder=tmp_path)[0] == ["config.json", "None"]


@pytest.mark.parametrize(("given", "expected"), [(None, 5), ("33", 33), ("10", 10)])
def test_a_users_timeout_is_taken(given: str | None, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    waited = []

    def ask(url: str, timeout: float) -> None:
        waited.append(timeout)

    monkeypatch.delenv("HF_HUB_ETAG_TIMEOUT", raising=False)
    if given is not None:
        monkeypatch.setenv("HF_HUB_ETAG_TIMEOUT", given)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_ETAG_TIMEOUT", int(given))  # as when it is imported
    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", ask)
    monkeypatch.setattr(hub_module, "_answers", {})
    assert hub_module._hub_answers("team/model", "config.json") and waited == [expected]


def test_a_hub_that_is_gone_costs_no_time(hub: LoopbackHub, tmp_path: Path) -> None:
    """The library would ask again for 23 seconds for each file that is not in the cache."""
    environment = hub.environment(tmp_path / "cache")
    files = ["config.json", "added_tokens.json", "generation_config.json"]
    assert find(environment, "team/model", *files, folder=tmp_path)[0] == ["config.json", "None", "None"]
    hub.close()
    lines, seconds = find(environment, "team/model", *files, "other.json", folder=tmp_path)
    assert lines[:3] == ["config.json", "None", "None"]
    assert "the hub cannot be reached for other.json; download it first" in lines[3]
    assert seconds < 15


def test_a_hub_that_is_silent_is_asked_once(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        environment = {**LoopbackHub(tmp_path).environment(tmp_path / "cache"), "HF_ENDPOINT": endpoint}
        lines, seconds = find(environment, "team/model", "config.json", "model.safetensors", folder=tmp_path)
    assert all("the hub cannot be reached" in line for line in lines) and len(lines) == 2
    assert seconds < 20
