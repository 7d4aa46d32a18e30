"""Tokenizers from the hub: the real client, in a process of its own, against a hub on the loopback interface."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bart.tokenization.tokenization_bart import BartTokenizer
from tests.loopback_hub import LoopbackHub

LOAD = """
import sys
from bart.errors import InputError
from bart.tokenization.tokenization_bart import BartTokenizer
for name in sys.argv[1:]:
    try:
        print(BartTokenizer.from_pretrained(name)(" some text")["input_ids"])
    except InputError as error:
        print("error:", error)
"""


@pytest.fixture
def hub(tokenizer_folder: Path, tmp_path: Path):
    shutil.copytree(tokenizer_folder, tmp_path / "hub" / "team" / "whole")
    (tmp_path / "hub" / "pair").mkdir()  # a model of the hub's early days has no owner, and no tokenizer.json
    for file in ("vocab.json", "merges.txt"):
        shutil.copy(tokenizer_folder / file, tmp_path / "hub" / "pair")
    (tmp_path / "hub" / "team" / "empty").mkdir()
    (tmp_path / "hub" / "team" / "empty" / "config.json").write_text("{}")
    with LoopbackHub(tmp_path / "hub") as hub:
        yield hub


def load(hub: LoopbackHub, cache: Path, *names: str, **environment: str) -> list[str]:
    process = subprocess.run(
        [sys.executable, "-c", LOAD, *names],
        env={**os.environ, **hub.environment(cache), **environment},
        check=True,
        capture_output=True,
        text=True,
    )
    return process.stdout.splitlines()


def test_hub_ids_load_and_stay_when_the_hub_is_gone(hub: LoopbackHub, tokenizer_folder: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    expected = str(BartTokenizer.from_pretrained(tokenizer_folder)(" some text")["input_ids"])
    whole, pair, empty, absent = load(hub, cache, "team/whole", "pair", "team/empty", "team/absent")
    assert whole == pair == expected
    assert empty.startswith("error: team/empty has no tokenizer")
    assert absent.startswith("error: team/absent")
    hub.close()
    whole, pair, absent = load(hub, cache, "team/whole", "pair", "team/absent", HF_HUB_OFFLINE="1")
    assert whole == pair == expected
    assert absent.startswith("error: team/absent")
