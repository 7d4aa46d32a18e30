"""Count the shapes of batches, and the CUDA graphs of searches, of texts as uneven as XSum's. Needs no GPU.

Each new shape of a training batch costs a GPU a plan of cuDNN's attention; each graph that a search records costs as
much as several steps. Graphs are counted with a tiny model whose texts, and the window to which they are padded, are
sixteen times shorter than articles.

Example: python -m scripts.benchmark.count_shapes --documents 20000 --max_tokens 45000
"""

import sys
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any
from unittest import mock

import numpy as np

from scripts.benchmark.training_work import CompareArguments as TrainingWork
from scripts.benchmark.training_work import make_lengths
from utils.cli.options import at_least, option
from utils.cli.run import run_command
from utils.data.batch import EXACT, FEW, padded_shapes
from utils.data.batch_sampler import LengthBucketSampler

_SHORTER = 16  # times, for the graphs
_BATCH, _LONGEST_SUMMARY, _EOS_BIAS = 64, 60, 1.0


@dataclass
class ShapeArguments:
    """The command line."""

    documents: int = option(20_000, "training", "texts of an epoch", check=at_least(8))
    max_tokens: int = option(45_000, "training", "--max_tokens_per_batch", check=at_least(1100))
    searched: int = option(1000, "search", "texts to summarize, in batches of 64; 0: none", check=at_least(0))
    json: str | None = option(None, "output", "file for the counts, as JSON")

    def check(self) -> None:
        """Accept any combination."""


def count_batches(documents: int, max_tokens: int, multiples: tuple[int, int]) -> dict[str, int]:
    """Count the micro-batches of an epoch, their distinct shapes, and their tokens with padding."""
    work = TrainingWork(mode="natural", documents=documents, source_length=1024, target_length=60)
    lengths = [np.array(of_side) for of_side in make_lengths(work)]
    sampler = LengthBucketSampler(
        *lengths, batch_size=1, accumulation=1, seed=0, group_by_length=True, max_tokens=max_tokens, multiples=multiples
    )
    exact = padded_shapes(*lengths, EXACT)
    shapes, tokens = [], 0
    for batch in sampler.batches(0, sampler.steps_per_epoch):
        source, target = np.maximum(exact[:, batch.indices].max(axis=1), batch.window).tolist()
        shapes.append((len(batch.indices), source, target))
        tokens += len(batch.indices) * (source + target)
    return {"batches": len(shapes), "shapes": len(set(shapes)), "tokens": tokens}


def count_graphs(searched: int) -> int:
    """Count the graphs that a search of texts of uneven length records, the longest first."""
    import torch

    from bart.configuration.configuration_bart import BartConfig
    from bart.generation.cuda_graphs import CudaGraphCache, CudaGraphCapture
    from bart.modeling.modeling_bart import BartForConditionalGeneration
    from scripts.benchmark.launch_counter import patch

    torch.manual_seed(0)
    torch.set_num_threads(1)  # for a tiny model, threads would only wait
    layers = dict.fromkeys(("encoder_layers", "decoder_layers"), 1)
    heads = dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), 2)
    sizes = {"vocab_size": 100, "d_model": 32, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "init_std": 0.3}
    model = BartForConditionalGeneration(BartConfig(**layers, **heads, **sizes, max_position_embeddings=64)).eval()
    model.final_logits_bias[:, model.config.eos_token_id] = _EOS_BIAS
    work = TrainingWork(mode="natural", documents=searched, source_length=1024)
    lengths = np.sort(np.maximum(3, np.array(make_lengths(work)[0]) // _SHORTER))[::-1]
    random, captured = np.random.default_rng(0), 0
    capture = CudaGraphCapture.capture

    def counted(*given: Any, **named: Any) -> Any:
        nonlocal captured
        captured += 1
        return capture(*given, **named)

    with ExitStack() as stack:
        patch(stack, "bart.generation.step_decoder", "_WITH_GRAPHS", {"cpu"})
        patch(stack, "bart.generation.active_sentences", "_HALVES", {"cpu"})
        patch(stack, "bart.generation.cuda_graphs", "_SOURCE_WINDOW", FEW[0] // _SHORTER)
        stack.enter_context(mock.patch.object(CudaGraphCapture, "capture", counted))
        graphs = CudaGraphCache(most_bytes=10**9)
        for start in range(0, searched, _BATCH):
            of_batch = lengths[start : start + _BATCH]
            sources = torch.from_numpy(random.integers(4, sizes["vocab_size"], (len(of_batch), of_batch[0])))
            mask = (torch.arange(int(of_batch[0])) < torch.from_numpy(of_batch.copy())[:, None]).long()
            model.generate(sources, mask, graphs=graphs, num_beams=2, max_length=_LONGEST_SUMMARY)
    return captured


def count(arguments: ShapeArguments) -> None:
    """Count, print, and write JSON if asked for."""
    report: dict[str, Any] = {}
    for name, multiples in (("few", FEW), ("exact", EXACT)):
        report[name] = found = count_batches(arguments.documents, arguments.max_tokens, multiples)
        print(
            f"--batch_shapes {name:6}{found['shapes']:6,} shapes (rows, source, target) in {found['batches']:,} "
            f"batches of {arguments.documents:,} texts, {found['tokens']:,} tokens with padding"
        )
    report["more_tokens"] = report["few"]["tokens"] / report["exact"]["tokens"] - 1
    print(f"few instead of exact: {report['more_tokens']:.1%} more tokens with padding")
    if arguments.searched:
        report["graphs"] = count_graphs(arguments.searched)
        print(f"{report['graphs']} graphs recorded for a search of {arguments.searched:,} texts")
    if arguments.json is not None:
        from utils.io.json_files import write_json

        write_json(arguments.json, report)


if __name__ == "__main__":
    sys.exit(run_command(ShapeArguments, __doc__, count))
