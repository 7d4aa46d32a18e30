"""The work that compare_training.py gives to each system: its command line, model, lengths and operations."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bart.errors import InputError
from scripts.benchmark.model_shapes import SHAPES
from utils.cli.options import at_least, between, option, probability
from utils.runtime.processor import processor_cores

if TYPE_CHECKING:
    from bart.configuration.configuration_bart import BartConfig

# Torch and transformers take seconds to import, so the functions do it: --help and a wrong flag are answered at once.

PRECISIONS = ("fp32", "bf16", "fp16")
_SPREAD = 0.6  # standard deviation of the logarithm of a source's length; XSum's texts are about as uneven
CHECK_STEPS = 10  # of --check_losses


@dataclass
class CompareArguments:
    """The command line."""

    shape: str = option("base", "model", "size of the model", choices=tuple(SHAPES))
    vocab_size: int = option(50265, "model", "tokens of the vocabulary", check=at_least(100))
    dropout: float = option(0.1, "model", "dropout", check=probability)
    attention_dropout: float = option(0.1, "model", "dropout of attention weights", check=probability)
    freeze_embeds: bool = option(False, "model", "do not train the embeddings, in both systems")
    batch_shapes: str = option(
        "auto", "systems", "--batch_shapes of this project, for natural lengths", choices=("auto", "few", "exact")
    )
    compile: bool = option(False, "systems", "run this project with --compile")
    systems: str = option(
        "ours,transformers", "systems", "systems to compare, this project first, separated by commas"
    )
    precisions: str = option("fp32", "systems", "some of fp32, bf16 and fp16, separated by commas")
    device: str = option("cpu", "systems", "device to run on", choices=("cpu", "cuda"))
    threads: int = option(0, "systems", "threads on a CPU; 0: as many as there are cores", check=at_least(0))
    keep_freed_memory: str = option(
        "ours", "systems", "systems that keep freed memory in their process, as this project's commands do"
    )
    mode: str = option("padded", "work", "kind of lengths, see above", choices=("padded", "natural"))
    batch_size: int = option(8, "work", "padded: examples of a step", check=at_least(1))
    source_length: int = option(256, "work", "padded: tokens of a source; natural: the maximum", check=at_least(30))
    target_length: int = option(64, "work", "padded: tokens of a target; natural: the maximum", check=at_least(8))
    documents: int = option(256, "work", "natural: examples of an epoch", check=at_least(8))
    turn: float = option(0.25, "work", "natural: share of the epoch that a turn takes", check=between(0, 1))
    batch_sizes: str = option("4,8,16", "work", "natural: batch sizes of transformers")
    token_budgets: str = option("1280,2560,5120", "work", "natural: this project's values of --max_tokens_per_batch")
    rounds: int = option(3, "work", "turns of each system, after two steps to warm up", check=at_least(1))
    check_losses: bool = option(False, "work", "compare the losses of ten steps without dropout, instead of the speed")
    label_smoothing: float = option(0.1, "work", "label smoothing", check=between(0, 1))
    seed: int = option(42, "work", "seed of weights, texts and order", check=at_least(0))
    json: str | None = option(None, "output", "file for the figures, as JSON")

    def check(self) -> None:
        """Raise InputError for an unknown system or precision."""
        for flag, known in (("systems", ("ours", "transformers")), ("precisions", PRECISIONS)):
            for name in getattr(self, flag).split(","):
                if name not in known:
                    raise InputError(f"--{flag} {name}: give some of {', '.join(known)}")


def write_model(folder: Path, arguments: CompareArguments) -> None:
    """Write a Hugging Face folder with random weights, which both systems read."""
    import torch

    from bart.modeling.modeling_bart import BartForConditionalGeneration

    torch.manual_seed(arguments.seed)
    with torch.device(arguments.device):  # a GPU draws the weights of a large model in less time
        model = BartForConditionalGeneration(make_config(arguments))
    model.cpu().save_pretrained(folder)


def make_config(arguments: CompareArguments) -> "BartConfig":
    """Make the configuration of the model."""
    from bart.configuration.configuration_bart import BartConfig

    shape = SHAPES[arguments.shape]
    return BartConfig(
        vocab_size=arguments.vocab_size,
        d_model=shape["d_model"],
        **dict.fromkeys(("encoder_layers", "decoder_layers"), shape["layers"]),
        **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), shape["heads"]),
        **dict.fromkeys(("encoder_ffn_dim", "decoder_ffn_dim"), shape["ffn"]),
        max_position_embeddings=1024,
        dropout=0.0 if arguments.check_losses else arguments.dropout,
        attention_dropout=0.0 if arguments.check_losses else arguments.attention_dropout,
        activation_dropout=0.0,
    )


def make_lengths(arguments: CompareArguments) -> tuple[list[int], list[int]]:
    """Draw the tokens of each source and target. A mean natural source is about half of the longest, as XSum's 480."""
    if arguments.mode == "padded":
        examples = arguments.batch_size * CHECK_STEPS
        return [arguments.source_length] * examples, [arguments.target_length] * examples
    random = np.random.default_rng(arguments.seed)
    shares = random.lognormal(np.log(0.45) - _SPREAD**2 / 2, _SPREAD, arguments.documents)
    sources = np.clip(np.round(shares * arguments.source_length), 30, arguments.source_length)
    targets = np.clip(np.round(random.normal(0.42, 0.12, arguments.documents) * arguments.target_length), 8, None)
    return sources.astype(int).tolist(), np.minimum(targets, arguments.target_length).astype(int).tolist()


def make_work(folder: Path, arguments: CompareArguments) -> dict[str, Any]:
    """Describe the training of the model in ``folder``, in JSON types, for the functions of training_systems.py."""
    source_lengths, target_lengths = make_lengths(arguments)
    few = arguments.batch_shapes == "few" or (arguments.batch_shapes == "auto" and arguments.device == "cuda")
    return {
        "model": str(folder),
        "source_lengths": source_lengths,
        "target_lengths": target_lengths,
        "few_shapes": few,
        "threads": arguments.threads or processor_cores(),
        "keep_freed_memory": arguments.keep_freed_memory.split(","),
        **{
            name: getattr(arguments, name)
            for name in ("vocab_size", "freeze_embeds", "compile", "label_smoothing", "device", "seed")
        },
    }


def operations_of(arguments: CompareArguments, examples: int) -> float:
    """Return the floating-point operations of the matrix products for that many examples, without padding."""
    from utils.training.flops import LengthSums, training_flops

    sources, targets = (np.array(lengths[:examples], dtype=float) for lengths in make_lengths(arguments))
    products = ((sources**2).sum(), (targets**2).sum(), (sources * targets).sum())
    return training_flops(make_config(arguments), LengthSums(examples, sources.sum(), targets.sum(), *products))
