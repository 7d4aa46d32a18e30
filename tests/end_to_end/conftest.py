import shutil
from pathlib import Path

import pytest
import torch

from bart.modeling.modeling_bart import BartForConditionalGeneration
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


@pytest.fixture(scope="session")
def talkative_model(whole_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That run's model with noise on its weights: it answers most sources differently. Read only."""
    folder = tmp_path_factory.mktemp("talkative") / "model"
    shutil.copytree(whole_run / "best_tfmr", folder)
    model = BartForConditionalGeneration.from_pretrained(folder)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "embed" not in name:
                parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
    model.save_pretrained(folder)
    return folder
