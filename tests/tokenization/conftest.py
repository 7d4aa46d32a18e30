import argparse
from pathlib import Path

import pytest

from bart.tokenization.training import train_tokenizer


@pytest.fixture(scope="session")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer of 800 tokens, trained on the source of a module. Tests that change it copy it first."""
    folder = tmp_path_factory.mktemp("trained") / "tokenizer"
    train_tokenizer((f" {line}" for line in source_lines()), 800, folder)
    return folder


def source_lines() -> list[str]:
    return Path(argparse.__file__).read_text(encoding="utf-8").splitlines()
