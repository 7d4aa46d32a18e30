"""Training, data, scores and reports around the bart package; ``Summarizer`` summarizes texts."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .recipes.summarize import Summarizer

__all__ = ["Summarizer"]


def __getattr__(name: str) -> Any:
    """Import ``Summarizer`` when it is first used: torch and transformers take seconds."""
    if name == "Summarizer":
        from .recipes.summarize import Summarizer

        return Summarizer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
