from pathlib import Path

import pytest

from bart.tokenization.tokenization_bart import BartTokenizer
from tests.tiny_setup import TinySetup, write_random_model, write_tiny_setup


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> TinySetup:
    """Read only."""
    return write_tiny_setup(tmp_path_factory.mktemp("setup"))


@pytest.fixture(scope="module")
def folder(setup: TinySetup, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Hold a model with random weights and its tokenizer; read only."""
    return write_random_model(setup, tmp_path_factory.mktemp("random"))


@pytest.fixture(scope="module")
def tokenizer(setup: TinySetup) -> BartTokenizer:
    return BartTokenizer.from_pretrained(setup.tokenizer)
