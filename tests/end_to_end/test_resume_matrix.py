"""Whatever is trained, wherever it is killed, however it is resumed: it ends bit for bit like one that is not killed.

All combinations of settings are too many to try. Every two settings are together in one training at least.
"""

import itertools
import json
import os
import shutil
import signal
import string
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.commands import Command, run
from tests.same_end import assert_same_end
from tests.tiny_setup import EXAMPLES, TinySetup, write_random_model
from utils.checkpoint.checkpoint_io import checkpoints, load_checkpoint
from utils.runtime.hardware import cpu_has_bfloat16

Cell = dict[str, str]  # a level of each factor

LORA = "--freeze_embeds --lora 4"
ADD_TOKENS = "--no-freeze_embeds --add_tokens {start}/words.txt"
FLAGS = {
    "optimizer": ["--optimizer adamw", "--optimizer lamb", "--optimizer adafactor"],
    "trained": ["--no-freeze_embeds", "--freeze_embeds", "--no-freeze_embeds --freeze_encoder", LORA, ADD_TOKENS],
    "layers": ["--no-gradient_checkpointing", "--gradient_checkpointing"],
    # 29 examples in batches of 4: an epoch is of 4 steps, or of 3, the last one of which is short.
    "length": [
        "--max_steps 10 --gradient_accumulation_steps 2",
        "--max_epochs 3 --gradient_accumulation_steps 3 --max_steps 1000",
    ],
    "precision": ["--no-bf16", "--bf16"],
    "validation": [
        "--eval_beams 0",
        "--eval_beams 2 --val_metric rouge1 --num_sanity_val_steps 1",
        "--eval_beams 2 --val_metric rouge1 --config_path {start}/drawn.json",
    ],
    "schedule": [f"--lr_scheduler {name}" for name in ("polynomial", "linear", "cosine", "constant")],
    "loss": ["--label_smoothing 0.1", "--label_smoothing 0", "--r_drop 0.5 --attention_dropout 0.1"],
    "average": ["--average_checkpoints 0", "--average_checkpoints 2"],
}
# Where each start but the last one is killed: at which call of what (tests/killed_training.py).
KILLS = {
    "in a step": [("step", 14)],
    "in a validation": [("validation", 4)],
    "in a save": [("save", 4)],
    "twice": [("step", 14), ("validation", 3)],
}
# Of the first start, and of the others.
WORKERS = {"none": (0, 0), "two": (2, 2), "first none": (0, 2), "first two": (2, 0)}
RESUMED = ["as it was", "from another directory", "after a move", "without the best checkpoint"]
FACTORS = {**FLAGS, "killed": list(KILLS), "workers": list(WORKERS), "resumed": RESUMED}

# With what no other test resumes; without bfloat16, which not all processors have.
QUICK: list[Cell] = [
    {
        **{name: levels[0] for name, levels in FACTORS.items()},
        "optimizer": "--optimizer lamb",
        "trained": ADD_TOKENS,
        "layers": "--gradient_checkpointing",
        "length": FLAGS["length"][1],
        "validation": FLAGS["validation"][1],
        "killed": "in a validation",
        "resumed": "from another directory",
    },
    {
        **{name: levels[1] for name, levels in FACTORS.items()},
        "optimizer": "--optimizer adafactor",
        "trained": "--no-freeze_embeds --freeze_encoder",
        "precision": "--no-bf16",
        "validation": FLAGS["validation"][2],
        "killed": "in a step",
        "workers": "none",
        "resumed": "without the best checkpoint",
    },
]


def pairwise(factors: dict[str, list[str]], cells: list[Cell]) -> list[Cell]:
    """Add cells to ``cells`` until every two levels of different factors are together in one. Always the same cells."""
    cells = list(cells)
    missing = {pair: None for pair in pairs(factors) if not any(pair <= cell.items() for cell in cells)}
    while missing:
        cell = dict(sorted(next(iter(missing))))  # a pair that is missing, and what is in most other ones with it
        for factor in sorted(factors.keys() - cell.keys(), key=lambda name: (-len(factors[name]), name)):
            met = {
                level: sum(frozenset({known, (factor, level)}) in missing for known in cell.items())
                for level in factors[factor]
            }
            cell[factor] = max(met, key=lambda level: met[level])
        cells.append(cell)
        missing = {pair: None for pair in missing if not pair <= cell.items()}
    return cells


def pairs(factors: dict[str, list[str]]) -> list[frozenset[tuple[str, str]]]:
    """Every two levels of different factors, each with the name of its factor."""
    levels = [[(factor, level) for level in factors[factor]] for factor in factors]
    return [frozenset(pair) for two in itertools.combinations(levels, 2) for pair in itertools.product(*two)]


CELLS = [
    pytest.param(
        cell,
        id=str(number),
        marks=[
            *([] if cell in QUICK else [pytest.mark.slow]),
            pytest.mark.skipif(
                cell["precision"] == "--bf16" and not cpu_has_bfloat16(), reason="this CPU has no bfloat16"
            ),
        ],
    )
    for number, cell in enumerate(pairwise(FACTORS, QUICK))
]


def test_every_two_settings_are_together() -> None:
    together = [parameter.values[0] for parameter in CELLS]
    assert all(cell.keys() == FACTORS.keys() for cell in together)
    for (factor, level), (other, other_level) in pairs(FACTORS):
        assert any(cell[factor] == level and cell[other] == other_level for cell in together), (level, other_level)


@dataclass
class Place:
    """Where a training is started, and what it is given. Paths among the flags are relative to ``directory``."""

    setup: TinySetup
    start: Path
    directory: Path
    output: Path

    def flags(self, cell: Cell, workers: int) -> list[str]:
        start, output = (os.path.relpath(path, self.directory) for path in (self.start, self.output))
        flags = [*self.setup.training_flags, "--data_dir", f"{start}/data"]
        flags += ["--output_dir", output, "--num_workers", str(workers)]
        flags += ["--model_name_or_path", f"{start}/model", "--tokenizer_name_or_path", f"{start}/model"]
        flags += ["--n_train", "29", "--val_check_interval", "1", "--save_checkpoint_steps", "2"]
        flags += ["--log_every_n_steps", "4"]  # so that a kill is between two records
        return flags + " ".join(cell[factor] for factor in FLAGS).format(start=start).split()


@pytest.fixture(scope="module")
def start(setup: TinySetup, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model to train, its data, and what some trainings need beside it."""
    folder = tmp_path_factory.mktemp("start")
    write_random_model(setup, folder / "model")
    shutil.copytree(setup.data, folder / "data", ignore=shutil.ignore_patterns(".prepared"))
    words = [*string.ascii_lowercase, "string", "kw", "option", "action", "si"]  # of what a random model writes
    (folder / "data" / "val.target").write_text(f"{' '.join(words)}\n" * EXAMPLES["val"])
    (folder / "words.txt").write_text("add_argument\nArgumentParser\n")
    (folder / "drawn.json").write_text(json.dumps(json.loads(setup.config.read_text()) | {"do_sample": True}))
    return folder


@pytest.mark.parametrize("cell", CELLS)
def test_killed_and_resumed(setup: TinySetup, start: Path, tmp_path: Path, cell: Cell) -> None:
    log, first, then = tmp_path / "log", *WORKERS[cell["workers"]]
    whole = Place(setup, start, tmp_path, tmp_path / "whole")
    run("finetune.py", whole.flags(cell, first), log, tmp_path)
    place = Place(setup, start, tmp_path, tmp_path / "killed")
    for number, (where, call) in enumerate(KILLS[cell["killed"]]):
        flags = [where, str(call), *place.flags(cell, then if number else first), "--resume"]
        command = Command("tests/killed_training.py", flags, log, folder=place.directory)
        assert command.wait() == -signal.SIGKILL, command.output
        assert bool(list(place.output.glob("._epoch*.part*"))) == (where == "save")
        twist(cell["resumed"], place, tmp_path / f"other{number}")
    assert "resuming from" in run("finetune.py", [*place.flags(cell, then), "--resume"], log, place.directory)
    assert_same_end(place.output, whole.output, 10 if cell["length"] == FLAGS["length"][0] else 9, records=3)
    assert not list(place.output.glob(".*.part*"))
    if cell["resumed"] != "without the best checkpoint":
        models = list(whole.output.glob("**/*.safetensors"))
        assert models
        for path in models:
            assert (place.output / path.relative_to(whole.output)).read_bytes() == path.read_bytes(), path


def twist(how: str, place: Place, other: Path) -> None:
    """Change what the resumed training finds, and from where; ``other`` is a path that is free."""
    other.mkdir()
    if how == "from another directory":
        place.directory = other
    elif how == "after a move":
        place.output = place.output.rename(other / "moved")
    elif how == "without the best checkpoint":
        [(_, best)] = load_checkpoint(checkpoints(place.output)[-1])["callbacks"]["CheckpointSaver"]["best"]
        (place.output / best).unlink(missing_ok=True)  # it may be gone since the first kill
