"""The work that compare_generation.py gives to each system: its command line, presets, sources and model."""

from dataclasses import MISSING, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from scripts.benchmark.model_shapes import SHAPES
from utils.cli.options import at_least, option

# Torch and transformers take seconds to import, so the functions do it: --help and a wrong flag are answered at once.

_FEWEST_NATURAL, _MOST_NATURAL = 100, 900  # tokens of a source
_ORDINARY_TOKENS = 5  # ids below are special

# Work that others have published figures of: values for the flags that have their defaults.
PRESETS: dict[str, dict[str, Any]] = {
    "tensorrt_llm": {
        "shape": "large",
        "systems": "ours",
        "precisions": "bf16",
        "mode": "uniform",
        "shortest_source": 260,
        "source_length": 440,
        "target_length": 129,  # the start token and 128 new ones
        "beams": 1,
    },
}
# Batch sizes of a preset, and the published sequences per second: TensorRT-LLM 0.x's engine of bart-large-cnn on an
# H100, bfloat16, greedy, up to 128 new tokens.
PUBLISHED = {"tensorrt_llm": {32: 139.0, 64: 254.0, 128: 363.0}}


@dataclass
class CompareArguments:
    """The command line."""

    preset: str | None = option(
        None,
        "preset",
        "work with published figures, which are printed too; it sets the flags that have their defaults. tensorrt_llm: "
        "greedy search by bart-large's shape in bf16, sources of 260 to 440 tokens, 128 new ones, batch 32, 64 and 128",
        choices=tuple(PRESETS),
    )
    shape: str = option("base", "model", "size of the model", choices=tuple(SHAPES))
    vocab_size: int = option(50265, "model", "tokens of the vocabulary", check=at_least(100))
    systems: str = option(
        "ours,transformers,ctranslate2", "systems", "systems to compare, this project first, separated by commas"
    )
    precisions: str = option("fp32", "systems", "some of fp32, bf16, fp16 and int8, separated by commas")
    device: str = option("cpu", "systems", "device to run on", choices=("cpu", "cuda"))
    apart: bool = option(True, "systems", "run each system in a process of its own")
    keep_freed_memory: str = option(
        "ours", "systems", "systems that keep freed memory in their process, as this project's commands do"
    )
    threads: int = option(0, "systems", "threads on a CPU; 0: as many as there are cores", check=at_least(0))
    mode: str = option("padded", "work", "kind of lengths, see above", choices=("padded", "natural", "uniform"))
    batch_size: int = option(4, "work", "padded, uniform: sources at once", check=at_least(1))
    source_length: int = option(512, "work", "padded: tokens of a source; uniform: of the longest", check=at_least(4))
    shortest_source: int = option(4, "work", "uniform: tokens of the shortest source", check=at_least(4))
    target_length: int = option(
        40, "work", "padded, uniform: tokens of an output, its start and end included; natural: the maximum",
        check=at_least(4),
    )  # fmt: skip
    beams: int = option(4, "work", "beams; 1: greedy search", check=at_least(1))
    documents: int = option(64, "work", "natural: number of sources", check=at_least(1))
    natural_batch_sizes: str = option("4,8,16", "work", "natural: batch sizes, of which each system takes its best")
    eos_bias: float = option(6.8, "work", "natural: number added to the logits of the end of sentence")
    rounds: int = option(3, "work", "runs of each system, after a batch to warm up", check=at_least(1))
    seed: int = option(42, "work", "seed of weights and sources", check=at_least(0))
    json: str | None = option(None, "output", "file for the figures, as JSON")

    def check(self) -> None:
        """Accept any combination: making a system finds out whether it has a precision."""

    def works(self) -> list["CompareArguments"]:
        """Return the work of each batch size of the preset, or this work alone."""
        if self.preset is None:
            return [self]
        chosen = PRESETS[self.preset]
        defaults = {entry.name: entry.default for entry in fields(self) if entry.default is not MISSING}
        taken = {name: value for name, value in chosen.items() if getattr(self, name) == defaults[name]}
        if self.batch_size != defaults["batch_size"]:
            return [replace(self, **taken)]
        return [replace(self, **taken, batch_size=size) for size in PUBLISHED[self.preset]]


def make_sources(arguments: CompareArguments) -> list[np.ndarray]:
    """Draw the token ids <s> ... </s> of each source."""
    random = np.random.default_rng(arguments.seed)
    if arguments.mode == "natural":
        lengths = random.integers(_FEWEST_NATURAL, _MOST_NATURAL + 1, arguments.documents)
    elif arguments.mode == "uniform":
        shortest = min(arguments.shortest_source, arguments.source_length)
        lengths = random.integers(shortest, arguments.source_length + 1, arguments.batch_size)
    else:
        lengths = np.full(arguments.batch_size, arguments.source_length)
    ordinary = (random.integers(_ORDINARY_TOKENS, arguments.vocab_size - 1, length - 2) for length in lengths)
    return [np.concatenate([[0], tokens, [2]]) for tokens in ordinary]


def write_model(folder: Path, arguments: CompareArguments) -> None:
    """Write a Hugging Face folder with random weights and a made-up vocabulary, which CTranslate2 reads too."""
    import torch

    from bart.configuration.configuration_bart import BartConfig
    from bart.modeling.modeling_bart import BartForConditionalGeneration
    from bart.tokenization.tokenization_bart import BartTokenizer

    shape = SHAPES[arguments.shape]
    config = BartConfig(
        vocab_size=arguments.vocab_size,
        d_model=shape["d_model"],
        **dict.fromkeys(("encoder_layers", "decoder_layers"), shape["layers"]),
        **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), shape["heads"]),
        **dict.fromkeys(("encoder_ffn_dim", "decoder_ffn_dim"), shape["ffn"]),
        max_position_embeddings=1024,
        init_std=0.06,  # so that outputs differ; with 0.02 a random model says little
        forced_bos_token_id=None,
    )
    torch.manual_seed(arguments.seed)
    with torch.device(arguments.device):  # a GPU draws the weights of a large model in less time
        model = BartForConditionalGeneration(config)
    model.cpu()
    if arguments.mode == "natural":
        model.final_logits_bias[:, config.eos_token_id] = arguments.eos_bias
    model.save_pretrained(folder)
    made_up = (f"w{number}" for number in range(4, arguments.vocab_size - 1))
    vocabulary = {word: number for number, word in enumerate(["<s>", "<pad>", "</s>", "<unk>", *made_up, "<mask>"])}
    BartTokenizer(vocab=vocabulary, merges=[]).save_pretrained(folder)
