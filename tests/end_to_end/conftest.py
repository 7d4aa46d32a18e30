from pathlib import Path

import pytest

from tests.commands import run
from tests.tiny_setup import TinySetup, write_tiny_setup


@pytest.fixture(scope="session")
def setup(tmp_path_factory: pytest.TempPathFactory) -> TinySetup:
    """Read only."""
    return write_tiny_setup(tmp_path_factory.mktemp("setup"))


@pytest.fixture(scope="session")
def whole_run(setup: TinySetup, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of a training that nothing interrupted. Read only."""
    folder = tmp_path_factory.mktemp("whole")
    run("finetune.py", [*setup.training_flags, "--output_dir", str(folder)], folder / "log")
    return folder
