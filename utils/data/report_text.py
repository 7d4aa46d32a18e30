"""Write the report on the data as lines of text: in full, or in short for the log of a training."""

from collections.abc import Iterator
from typing import Any


def full_report(report: dict[str, Any]) -> Iterator[str]:
    """Yield lines with every figure of ``data_report``."""
    for split, facts in report["splits"].items():
        yield f"{split}: {facts['pairs']:,} pairs; {facts['left_out']:,} more lack a source or target"
        for side in ("source", "target"):
            yield f"  {side} tokens: {_lengths(facts[side])}; {_cut(facts[side])}"
        if "share_kept_whole" in facts["source"]:
            yield f"  sources kept whole: {_kept_whole(facts['source']['share_kept_whole'])}"
        yield (
            f"  repeat an earlier one: {facts['repeated_sources']:,} sources,"
            f" {facts['repeated_pairs']:,} pairs of source and target"
        )
    for name, overlap in report["overlaps"].items():
        yield f"{name}: {_overlap(overlap)}"
    batch = report["first_batch"]
    yield "first training batch:"
    for side in ("source", "target"):
        rows, length = batch[f"{side}_shape"]
        yield f"  {side}s: {rows:,} x {length:,} tokens, {batch[f'{side}_padding']:.1%} of them padding"
    for number, example in enumerate(batch["examples"], start=1):
        yield f"  source {number}: {example['source']!r}"
        yield f"  target {number}: {example['target']!r}"
    yield f"Cut text is counted in {report['cut_is_counted_in']}."
    yield from _warnings(report)


def short_report(report: dict[str, Any]) -> Iterator[str]:
    """Yield a line for each split and each overlap, and the warnings."""
    for split, facts in report["splits"].items():
        sides = [
            f"{side} tokens: median {facts[side]['tokens']['median']:,}, longest {facts[side]['tokens']['longest']:,},"
            f" {facts[side]['share_of_texts_cut']:.1%} cut ({facts[side]['share_of_bytes_cut']:.1%} of the bytes)"
            for side in ("source", "target")
        ]
        yield f"{split} data: {'; '.join(sides)}"
    for name, overlap in report["overlaps"].items():
        yield f"{name}: {_overlap(overlap)}"
    yield from _warnings(report)


def _lengths(side: dict[str, Any]) -> str:
    tokens = side["tokens"]
    return (
        f"mean {tokens['mean']:,.1f}, median {tokens['median']:,}, 90% up to {tokens['p90']:,},"
        f" 99% up to {tokens['p99']:,}, longest {tokens['longest']:,}"
    )


def _cut(side: dict[str, Any]) -> str:
    (limit,) = side["limit"].values()
    return (
        f"{side['cut_texts']:,} ({side['share_of_texts_cut']:.1%}) cut at {limit:,} tokens,"
        f" {side['share_of_bytes_cut']:.1%} of all bytes lost"
    )


def _kept_whole(shares: dict[int, float]) -> str:
    return ", ".join(f"{share:.1%} at {length:,} tokens" for length, share in shares.items())


def _overlap(overlap: dict[str, int]) -> str:
    return f"{overlap['same_source']:,} sources and {overlap['same_target']:,} targets of {overlap['pairs']:,}"


def _warnings(report: dict[str, Any]) -> list[str]:
    return [f"warning: {text}" for text in report["warnings"]]
