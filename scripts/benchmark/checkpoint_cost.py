"""Measure what safe checkpoints cost: the seconds of a save and of a reading, and the slowdown of a training.

A safe save writes beside the target, adds a checksum, syncs, reads the file back from the disk and renames it. It is
compared with torch.save alone and with Lightning's own save, in turn.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bart.configuration.configuration_bart import BartConfig
from utils.cli.options import at_least, option
from utils.cli.run import run_command
from utils.io.json_files import read_json, write_json

ROOT = Path(__file__).parents[2]
_SAVES = 20  # of a training, by default


def _none_or_enough(steps: int) -> str | None:
    return None if steps == 0 or steps >= _SAVES else f"give 0, or {_SAVES} or more: a training saves {_SAVES} times"


@dataclass
class CostArguments:
    """The command line."""

    config: str = option("configs/config_base.json", "saves", "configuration of the model whose state is saved")
    repeats: int = option(3, "saves", "saves of each kind, in turn", check=at_least(1))
    folder: str | None = option(None, "saves", "folder to save into (default: a temporary folder)")
    steps: int = option(
        60, "training", "steps of each training that is compared, 0 for no training", check=_none_or_enough
    )
    pairs: int = option(2, "training", "trainings of each kind, in turn", check=at_least(1))
    json: str | None = option(None, "output", "file for the figures")

    def check(self) -> None:
        """Accept any combination."""


def training_state(config: BartConfig) -> dict[str, Any]:
    """Make the state of a training with AdamW, as large as in a checkpoint."""
    import torch

    from bart.modeling.modeling_bart import BartForConditionalGeneration

    model = BartForConditionalGeneration(config)
    moments = {
        number: {"exp_avg": torch.rand_like(weight), "exp_avg_sq": torch.rand_like(weight)}
        for number, weight in enumerate(model.parameters())  # each once, even if tied
    }
    return {"state_dict": model.state_dict(), "optimizer_states": [{"state": moments}]}


def cost_of_saves(config: BartConfig, folder: Path, repeats: int) -> dict[str, float]:
    """Return the size of a checkpoint in bytes, and the median seconds of each operation."""
    import torch
    from pytorch_lightning.plugins.io import TorchCheckpointIO

    from bart.checkpoints.checksummed_file import matches_checksum
    from utils.checkpoint.checkpoint_io import AtomicCheckpointIO, load_checkpoint

    state = training_state(config)
    paths = {name: folder / f"{name}.ckpt" for name in ("plain", "lightning", "safe")}
    ways: dict[str, Callable[[], Any]] = {
        "save_torch_alone": lambda: torch.save(state, paths["plain"]),
        "save_of_lightning": lambda: TorchCheckpointIO().save_checkpoint(state, paths["lightning"]),
        "save_here": lambda: AtomicCheckpointIO().save_checkpoint(state, paths["safe"]),
        "read": lambda: load_checkpoint(paths["safe"]),
        "compare_checksum": lambda: matches_checksum(paths["safe"]),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, do in ways.items():
            start = time.perf_counter()
            do()
            seconds[name].append(time.perf_counter() - start)
    size = paths["safe"].stat().st_size
    return {"bytes": size, **{name: round(statistics.median(values), 3) for name, values in seconds.items()}}


def cost_of_training(folder: Path, steps: int, pairs: int) -> dict[str, Any]:
    """Return the seconds of the same training with its usual 20 saves, and with only those of validations."""
    words = (__doc__ or "").split()
    for split, count in (("train", 640), ("val", 8)):
        texts = [
            " ".join(words[(row * 7 + place * (1 + row % 5)) % len(words)] for place in range(90))
            for row in range(count)
        ]
        (folder / f"{split}.source").write_text("".join(f"{text}\n" for text in texts))
        (folder / f"{split}.target").write_text("".join(f"{text[:120]}\n" for text in texts))
    settings: dict[str, Any] = {
        "data_dir": folder,
        "model_name_or_path": ROOT / "models" / "bart_mini",
        "output_dir": folder / "run",
        "gpus": 0,
        "train_batch_size": 32,
        "max_target_length": 32,
        "max_steps": steps,
        "warmup_steps": 1,
        "val_check_interval": 1e9,
        "log_every_n_steps": steps,
        "n_test": 0,
    }
    flags = [text for name, value in settings.items() for text in (f"--{name}", str(value))]
    command = [sys.executable, str(ROOT / "finetune.py"), *flags, "--no-freeze_embeds", "--overwrite_output_dir"]
    seconds: dict[str, list[float]] = {"with_20_saves": [], "without": []}
    for _ in range(pairs):
        for name, more in (("with_20_saves", []), ("without", ["--save_checkpoint_steps", str(10**9)])):
            subprocess.run([*command, *more], check=True, stdout=subprocess.DEVNULL)
            whole = read_json(folder / "run" / "metrics.json")["throughput"]
            seconds[name].append(1e6 / whole["tokens_per_second"])
    return {
        name: {"seconds_per_million_tokens": [round(value, 2) for value in values]} for name, values in seconds.items()
    }


def measure(arguments: CostArguments) -> None:
    """Print the figures, and write them to --json if it is given."""
    config = BartConfig.from_json_file(arguments.config)
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        figures: dict[str, Any] = {"saves": cost_of_saves(config, Path(name), arguments.repeats)}
        if arguments.steps > 0:
            figures["training"] = cost_of_training(Path(name), arguments.steps, arguments.pairs)
    if arguments.json is not None:
        write_json(arguments.json, figures)
    for part, values in figures.items():
        print(f"{part}:")
        for name, value in values.items():
            print(f"  {name:22} {value}")


if __name__ == "__main__":
    sys.exit(run_command(CostArguments, __doc__ or "", measure))
