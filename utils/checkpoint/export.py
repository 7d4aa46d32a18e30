"""Writes a model as a Hugging Face folder."""

from pathlib import Path

from transformers import PreTrainedTokenizerBase

from bart.atomic_directory import atomic_directory
from bart.modeling.modeling_bart import BartForConditionalGeneration

from ..io.run_files import CARD_FILE


def save_model(
    model: BartForConditionalGeneration, tokenizer: PreTrainedTokenizerBase, folder: Path, card: str | None = None
) -> None:
    """Write a Hugging Face folder, complete or not at all; ``card`` is the text of its README.md."""
    with atomic_directory(folder) as unfinished:
        model.save_pretrained(unfinished)
        tokenizer.save_pretrained(unfinished)
        if card is not None:
            (unfinished / CARD_FILE).write_text(card, encoding="utf-8")
