"""Generating summaries of a split, scoring them and writing both down."""

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm
from transformers import PreTrainedTokenizerBase

from bart.modeling.modeling_bart import BartForConditionalGeneration
from utils.batching import batches_by_length
from utils.data import decode, pad_sources
from utils.example_scores import write_example_scores
from utils.files import atomic_write
from utils.long_documents import read_sources
from utils.machine import processor_cores
from utils.pairs import Pairs
from utils.peers import Peers
from utils.report import latency_summary, write_json
from utils.results_page.examples import Examples
from utils.results_page.page import PAGE_FILE, write_page
from utils.rouge import (
    ROUGE_TYPES,
    Splitter,
    bootstrap_intervals,
    example_scores,
    mean_scores,
    scorer_description,
)
from utils.summary_traits import summary_traits
from utils.token_store import TokenStore


@dataclass
class Generations:
    """What one process's model wrote."""

    texts: dict[int, list[str]]  # by row of the sources' tokens: num_return_sequences texts, best first
    seconds: list[float]  # that each batch took to generate


@dataclass
class EvaluationSettings:
    """How a split is summarized."""

    split: str
    prefix: str  # put before every source
    batch_size: int
    max_source_length: int  # tokens
    long_documents: str  # "truncate" or "chunk"
    search: dict[str, Any]  # what differs from the model's configuration
    splitter: Splitter = "period"  # of texts into sentences, for rougeLsum


def evaluate(
    model: BartForConditionalGeneration,
    tokenizer: PreTrainedTokenizerBase,
    pairs: Pairs,
    settings: EvaluationSettings,
    folder: Path,
    facts: dict[str, Any],
    peers: Peers | None = None,
) -> dict[str, Any] | None:
    """Generate, score and write <split>_generations.txt, <split>_rouge.json, what each example scored and results.html;
    returns the report.

    ``facts`` go into the report as they are. Of several processes each generates a share, and the first one does the
    rest; the others return None. What an earlier evaluation left there is deleted first. Without targets there are no
    scores, and no <split>_rouge.json.
    """
    peers = peers or Peers()
    if peers.rank == 0:
        for ending in ("generations.txt", "generations.jsonl", "rouge.json", "example_scores.json"):
            (folder / f"{settings.split}_{ending}").unlink(missing_ok=True)
        (folder / PAGE_FILE).unlink(missing_ok=True)
    in_pieces = settings.long_documents == "chunk"
    sources = read_sources(pairs.sources, tokenizer, settings.max_source_length, settings.prefix, in_pieces)
    parts = peers.gather_to_first(generate(model, tokenizer, sources.tokens, settings, peers))
    if parts is None:
        return None
    texts = {row: written for part in parts for row, written in part.texts.items()}
    in_order = sources.joined([texts[row] for row in range(len(sources.tokens))])
    _write_generations(in_order, folder, settings.split)
    best = [written[0] for written in in_order]
    scores = None
    if pairs.targets is not None:
        scores = example_scores(best, pairs.targets, settings.splitter, processor_cores())
    report = {
        **({} if scores is None else _scored(scores, settings.splitter)),
        "traits": summary_traits(pairs.sources, best, pairs.targets),
        "split": settings.split,
        "n_obs": len(pairs),
        "latency_seconds": latency_summary([seconds for part in parts for seconds in part.seconds]),  # per batch
        "sequences_per_second": len(pairs) / max(sum(part.seconds) for part in parts),
        "device": model.final_logits_bias.device.type,
        "processes": len(parts),
        "beams": settings.search.get("num_beams", model.config.num_beams),
        "batch_size": settings.batch_size,
        "max_source_length": settings.max_source_length,
        "truncation": {
            "sources_cut": sources.truncation.cut_texts,
            "share_of_bytes_cut": sources.truncation.share_of_bytes,
        },
        "long_documents": {
            "mode": settings.long_documents,
            "documents_in_pieces": sources.documents_in_pieces,
            "pieces": int(sources.pieces[sources.pieces > 1].sum()),
        },
        "search": {**model.config.search_settings(), **settings.search},
        **facts,
    }
    if scores is not None:
        write_example_scores(folder, settings.split, pairs.targets, scores)
        write_json(folder / f"{settings.split}_rouge.json", report)
    write_page(folder, report, Examples(pairs.sources, pairs.targets, best, scores))
    return report


def _scored(scores: np.ndarray, splitter: Splitter) -> dict[str, Any]:
    """What a report says of the F-measures (N, 4) of the examples."""
    return {
        **mean_scores(scores),
        "intervals_95": bootstrap_intervals(scores),
        "scorer": scorer_description(splitter),
    }


def result_text(report: dict[str, Any]) -> str:
    """The scores of a report in one line, for people; after it, what became of documents that are too long."""
    scores = "  ".join(f"{name} {report[name]:.2f}" for name in ROUGE_TYPES if name in report)
    scores = scores or f"no scores, as there is no {report['split']}.target"
    score_line = f"{report['split']} ({report['n_obs']:,} examples, {report['beams']} beams): {scores}"
    cut, long = report["truncation"], report["long_documents"]
    beyond = f"longer than {report['max_source_length']:,} tokens"
    if long["documents_in_pieces"]:
        documents, pieces = long["documents_in_pieces"], long["pieces"]
        return f"{score_line}\n{documents:,} sources {beyond}: summarized in {pieces:,} pieces"
    if cut["sources_cut"]:
        lost = f"{cut['share_of_bytes_cut']:.1%} of all bytes"
        return f"{score_line}\n{cut['sources_cut']:,} sources {beyond}: cut, which takes {lost} away"
    return score_line


def generate(
    model: BartForConditionalGeneration,
    tokenizer: PreTrainedTokenizerBase,
    sources: TokenStore,
    settings: EvaluationSettings,
    peers: Peers,
) -> Generations:
    """Summarize this process's share of the sources, in batches of similar length.

    Processes share whole batches, so that a batch, and with it every rounding, is the same on any number of them.
    """
    config, device = model.config, model.final_logits_bias.device
    batches = batches_by_length(sources.lengths, settings.batch_size)[peers.rank :: peers.count]
    texts: dict[int, list[str]] = {}
    seconds = []
    with _progress(sum(map(len, batches)), peers.rank) as progress:
        for rows in batches:
            input_ids, attention_mask = pad_sources(
                [sources[row] for row in rows], config.pad_token_id, config.max_position_embeddings
            )
            start = _now(device)
            sequences = model.generate(input_ids.to(device), attention_mask.to(device), **settings.search)
            seconds.append(_now(device) - start)
            decoded = decode(sequences, tokenizer)  # (B * num_return_sequences)
            per_source = len(decoded) // len(rows)
            for index, row in enumerate(rows.tolist()):
                texts[row] = decoded[index * per_source : (index + 1) * per_source]
            progress.update(len(rows))
            peers.batch_done()
    return Generations(texts, seconds)


def _now(device: torch.device) -> float:
    """The clock, when the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def _progress(total: int, rank: int) -> tqdm:
    """A bar, of the first process alone; in a log file its last state alone."""
    every = 0.1 if sys.stderr.isatty() else float("inf")
    return tqdm(
        total=total,
        desc="generating",
        unit="seq",
        mininterval=every,
        delay=0 if sys.stderr.isatty() else 1e-9,  # not at 0%
        dynamic_ncols=True,
        disable=rank > 0,
    )


def _write_generations(texts: list[list[str]], folder: Path, split: str) -> None:
    """Line i of the text file answers line i of the split; several per source are all in a JSON Lines file."""
    with atomic_write(folder / f"{split}_generations.txt") as file:
        file.writelines(f"{written[0]}\n" for written in texts)
    if len(texts[0]) > 1:
        with atomic_write(folder / f"{split}_generations.jsonl") as file:
            file.writelines(json.dumps(written, ensure_ascii=False) + "\n" for written in texts)
