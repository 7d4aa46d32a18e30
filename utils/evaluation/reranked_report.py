"""What the report of a re-ranked evaluation says: how it chose, and what the plain search scored beside it."""

from collections.abc import Mapping
from typing import Any

from .rouge import ROUGE_TYPES

_ORDER = "2"  # of the n-grams in the printed table
# Entries that hold for the re-ranked summaries, and not for those of the plain search.
_OF_RERANKED = ("rerank", "degenerate_outputs", "latency_seconds", "sequences_per_second", "key")


def rerank_entry(facts: Mapping[str, Any], plain: Mapping[str, Any]) -> dict[str, Any]:
    """Return the report's entry.

    Args:
        facts: how it was re-ranked, from ``Reranker``.
        plain: the scores and traits of the summaries that the plain search found.
    """
    return {**facts, "note": _note(facts["utility"]), "beam_search": dict(plain)}


def plain_report(report: Mapping[str, Any]) -> dict[str, Any]:
    """Return the report of the plain search alone, from that of the re-ranked evaluation."""
    shared = {name: value for name, value in report.items() if name not in _OF_RERANKED}
    return {**shared, **report["rerank"]["beam_search"]}


def method_text(rerank: Mapping[str, Any]) -> str:
    """Say how summaries were chosen, from the report's entry."""
    parts = [f"{rerank['beams']} beams"] if rerank["beams"] else []
    if rerank["samples"]:
        parts.append(f"{rerank['samples']} samples at temperature {rerank['temperature']:g}")
    return f"re-ranked by {rerank['method']} ({rerank['utility']}) of {' and '.join(parts)}"


def comparison_lines(report: Mapping[str, Any]) -> list[str]:
    """Describe the re-ranking for people: a table of both searches, and what to mind; nothing if there was none."""
    if "rerank" not in report:
        return []
    rerank = report["rerank"]
    rows = {"re-ranked": _figures(report), "beam search": _figures(rerank["beam_search"])}
    columns = list(rows["re-ranked"])
    table = [
        f"{name:<13}" + "".join(f"{figures[column]:>{len(column) + 3}}" for column in columns)
        for name, figures in {"": {column: column for column in columns}, **rows}.items()
    ]
    return [f"{method_text(rerank)}:", *table, rerank["note"]]


def _note(utility: str) -> str:
    return f"an evaluation by the metric that chose ({utility}) favours itself: see the other figures too"


def _figures(quality: Mapping[str, Any]) -> dict[str, str]:
    """Return the columns of a row of the table, by name."""
    generated = quality["traits"]["generated"]
    shares = {
        f"{kind} {_ORDER}-grams": generated[f"{kind}_ngrams"][_ORDER] for kind in ("novel", "repeated")
    }
    return {
        **{name: f"{quality[name]:.2f}" for name in ROUGE_TYPES if name in quality},
        "words": f"{generated['words']:.1f}",
        **{name: "-" if share is None else f"{share:.1%}" for name, share in shares.items()},
    }
