"""Real but tiny: a corpus, a tokenizer trained on it, and a configuration for them."""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import torch

from bart.configuration.configuration_bart import BartConfig
from bart.modeling.modeling_bart import BartForConditionalGeneration
from bart.tokenization.tokenization_bart import BartTokenizer
from bart.tokenization.training import train_tokenizer

EXAMPLES = {"train": 61, "val": 13, "test": 7}  # odd, so that last batches are short
MAX_POSITIONS = 64


@dataclass
class TinySetup:
    """Where everything is."""

    data: Path
    tokenizer: Path
    config: Path

    @property
    def training_flags(self) -> list[str]:
        """Flags of finetune.py for a run of a few seconds: 8 steps an epoch, validation every 4."""
        return [
            *("--data_dir", str(self.data), "--config_path", str(self.config), "--gpus", "0"),
            *("--model_name_or_path", "scratch", "--tokenizer_name_or_path", str(self.tokenizer), "--no-freeze_embeds"),
            *("--train_batch_size", "4", "--gradient_accumulation_steps", "2", "--max_steps", "20"),
            *("--warmup_steps", "5", "--learning_rate", "1e-3", "--val_check_interval", "0.5"),
            *("--early_stopping_patience", "50", "--eval_batch_size", "8", "--log_every_n_steps", "1", "--n_test", "0"),
        ]


def write_tiny_setup(folder: Path) -> TinySetup:
    """Six lines of a module of the standard library make a source, the first of them its target."""
    lines = [line.strip() for line in Path(argparse.__file__).read_text(encoding="utf-8").splitlines()]
    lines = [line for line in lines if len(line) > 20]
    setup = TinySetup(folder / "data", folder / "tokenizer", folder / "config.json")
    setup.data.mkdir()
    start = 0
    for split, count in EXAMPLES.items():
        groups = [lines[start + 3 * index : start + 3 * index + 1 + index % 6] for index in range(count)]
        start += 3 * count
        _write_lines(setup.data / f"{split}.source", [" ".join(group) for group in groups])
        _write_lines(setup.data / f"{split}.target", [group[0] for group in groups])
    train_tokenizer((f" {line}" for line in lines), 400, setup.tokenizer)
    setup.config.write_text(json.dumps(tiny_config().to_dict()))
    return setup


def write_random_model(setup: TinySetup, folder: Path) -> Path:
    """Write a model and its tokenizer; its random weights are large enough to answer most sources differently."""
    torch.manual_seed(0)
    BartForConditionalGeneration(tiny_config().copy(init_std=0.5)).save_pretrained(folder)
    BartTokenizer.from_pretrained(setup.tokenizer).save_pretrained(folder)
    return folder


def tiny_config() -> BartConfig:
    """One layer on each side; fits the tokenizer."""
    return BartConfig(
        vocab_size=400,
        max_position_embeddings=MAX_POSITIONS,
        d_model=32,
        **dict.fromkeys(["encoder_layers", "decoder_layers"], 1),
        **dict.fromkeys(["encoder_attention_heads", "decoder_attention_heads"], 2),
        **dict.fromkeys(["encoder_ffn_dim", "decoder_ffn_dim"], 64),
        prefix=" ",
        num_beams=2,
        max_length=16,
        no_repeat_ngram_size=3,
        early_stopping=True,
    )


def _write_lines(path: Path, lines: list[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
