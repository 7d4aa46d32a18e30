"""Reports what the data of a training are like: lengths, cut texts, duplicates, and the first batch."""

import re
from typing import Any

import numpy as np
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from bart.modeling.modeling_bart import IGNORE_INDEX

from ..cli.training_args import DataSettings
from .batch import Batch
from .kept_whole import share_kept_whole
from .model_vocabulary import ModelVocabulary, smaller_vocabulary, unknown_tokens_text
from .tokens.duplicates import found_in, pair_hashes, repeats
from .tokens.pair_cache import PreparedPairs, TextFacts
from .tokens.token_array import TokenStore
from .training_data import RawTexts, TokenizedData, prepare_test

CUT_IS_COUNTED_IN = "bytes of UTF-8: how many tokens the rest of a cut text has is not known, as it is not tokenized"
_MANY_REPEATS = 0.05  # of the sources of a split
_SHOWN_EXAMPLES = 2
_SHOWN_START, _SHOWN_END = 240, 80  # characters


def data_report(
    settings: DataSettings, inputs: RawTexts, data: TokenizedData, reads_again: bool = False
) -> dict[str, Any]:
    """Report what the data are like, as plain JSON types.

    The tokens of the test split are prepared if they were not yet.

    Args:
        settings: of the data, with all lengths set.
        inputs: the texts.
        data: their tokens.
        reads_again: read the sources that may be cut once more, to the end, to report the lengths that keep them whole.
    """
    splits = dict(data.prepared)
    test = prepare_test(settings, inputs)
    if test is not None:
        splits["test"] = test
    vocabulary = smaller_vocabulary(inputs.tokenizer, inputs.config)
    report: dict[str, Any] = {
        "splits": {split: _describe_split(split, pairs, settings, vocabulary) for split, pairs in splits.items()},
        "overlaps": {
            f"{split} in train": _overlap(pairs, splits["train"]) for split, pairs in splits.items() if split != "train"
        },
        "cut_is_counted_in": CUT_IS_COUNTED_IN,
        "first_batch": _describe_batch(data.train[next(data.sampler.batches(0, 1))], inputs.tokenizer),
    }
    if reads_again:
        tokenizer, prefix, limit = inputs.tokenizer, inputs.config.prefix, settings.max_source_length
        files = {"train": inputs.train, "val": inputs.val, "test": inputs.test_files}
        for split, pairs in splits.items():
            shares = share_kept_whole(files[split], pairs, tokenizer, prefix, limit)
            report["splits"][split]["source"]["share_kept_whole"] = shares
    return {**report, "warnings": _warnings(report)}


def _describe_split(
    split: str, pairs: PreparedPairs, settings: DataSettings, vocabulary: ModelVocabulary | None
) -> dict[str, Any]:
    target_flag = "val_max_target_length" if split == "val" else "max_target_length"
    sources, targets = pairs.source_facts, pairs.target_facts
    source_tokens, target_tokens = (store.read_by(vocabulary) for store in (pairs.sources, pairs.targets))
    return {
        "pairs": len(pairs.sources),
        "left_out": pairs.left_out,
        "source": _describe_side(source_tokens, sources, "max_source_length", settings),
        "target": _describe_side(target_tokens, targets, target_flag, settings),
        "repeated_sources": repeats(sources.hashes),
        "repeated_pairs": repeats(pair_hashes(sources.hashes, targets.hashes)),
    }


def _describe_side(store: TokenStore, facts: TextFacts, flag: str, settings: DataSettings) -> dict[str, Any]:
    lengths, cut = store.lengths, facts.truncation
    median, p90, p99 = np.percentile(lengths, [50, 90, 99], method="nearest").tolist()
    return {
        "tokens": {  # as learnt from, <s> and </s> included
            "mean": float(lengths.mean()), "median": median, "p90": p90, "p99": p99, "longest": int(lengths.max()),
        },
        "limit": {flag: getattr(settings, flag)},
        "cut_texts": cut.cut_texts,
        "share_of_texts_cut": cut.share_of_texts,
        "bytes": cut.bytes,
        "share_of_bytes_cut": cut.share_of_bytes,
        "unknown_tokens": store.count_unknown(),  # read as <unk>, as the model has no embedding of them
    }  # fmt: skip


def _overlap(pairs: PreparedPairs, train: PreparedPairs) -> dict[str, int]:
    return {
        "pairs": len(pairs.sources),
        "same_source": found_in(pairs.source_facts.hashes, train.source_facts.hashes),
        "same_target": found_in(pairs.target_facts.hashes, train.target_facts.hashes),
    }


def _describe_batch(batch: Batch, tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    labels = batch.labels.masked_fill(batch.labels == IGNORE_INDEX, tokenizer.pad_token_id)
    shown = range(min(_SHOWN_EXAMPLES, len(batch.indices)))
    return {
        "source_shape": list(batch.input_ids.shape),
        "target_shape": list(batch.labels.shape),
        "source_padding": 1 - batch.attention_mask.float().mean().item(),
        "target_padding": (batch.labels == IGNORE_INDEX).float().mean().item(),
        "examples": [
            {"source": _shown(batch.input_ids[row], tokenizer), "target": _shown(labels[row], tokenizer)}
            for row in shown
        ],
    }


def _shown(ids: Tensor, tokenizer: PreTrainedTokenizerBase) -> str:
    """The text of some ids with its special tokens, its middle left out where it is long."""
    text = tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    padding = tokenizer.pad_token
    text = re.sub(f"({re.escape(padding)}){{2,}}", lambda run: f"{len(run[0]) // len(padding)} x {padding}", text)
    if len(text) <= _SHOWN_START + _SHOWN_END:
        return text
    return f"{text[:_SHOWN_START]} [...] {text[-_SHOWN_END:]}"


def _warnings(report: dict[str, Any]) -> list[str]:
    """What is likely a mistake, a line each."""
    splits, warnings = report["splits"], []
    if not splits:  # documents
        return warnings
    train = splits["train"]
    if train["target"]["bytes"] > train["source"]["bytes"]:
        warnings.append("train: the targets are longer than the sources; are the files swapped?")
    for split, facts in splits.items():
        if facts["source"]["share_of_texts_cut"] > 0.5:
            warnings.append(f"{split}: {_cut_at(facts['source'])} of the sources; the model never sees their ends")
        if facts["repeated_sources"] > _MANY_REPEATS * facts["pairs"]:
            warnings.append(
                f"{split}: {facts['repeated_sources']:,} of {facts['pairs']:,} sources repeat one before them"
            )
        for side in ("source", "target"):
            if count := facts[side]["unknown_tokens"]:
                warnings.append(f"{split}: in the {side}s {unknown_tokens_text(count)}")
    if train["target"]["share_of_texts_cut"] > 0.1:
        warnings.append(f"train: {_cut_at(train['target'])} of the targets; it learns summaries without an end")
    for name, overlap in report["overlaps"].items():
        if overlap["same_source"]:
            split = name.split()[0]
            warnings.append(
                f"{split}: {overlap['same_source']:,} of {overlap['pairs']:,} sources are in train as well;"
                " its scores will be too good"
            )
    return warnings


def _cut_at(side: dict[str, Any]) -> str:
    ((flag, limit),) = side["limit"].items()
    return f"--{flag} {limit} cuts {side['share_of_texts_cut']:.0%}"
