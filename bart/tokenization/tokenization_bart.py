"""BART's byte-level BPE tokenizer: transformers' own, with checks when it is loaded."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, Self

import transformers
from tokenizers import AddedToken
from tokenizers.decoders import ByteLevel

from bart.errors import InputError
from bart.json_files import read_json_object
from bart.tokenization.added_token_decoder import added_token_decoder, is_misread
from bart.tokenization.tokenizer_files import (
    ADDED_TOKENS_FILE,
    CONFIG_FILE,
    FILES_BY_VERSION,
    NAMED_TOKENS,
    find_tokenizer,
    refuse_what_libraries_raise,
)

MAX_LENGTH = 1024  # tokens: the number of positions of the published models
UNLIMITED = 10**29  # transformers writes 1e30 for a tokenizer without a greatest length


class BartTokenizer(transformers.BartTokenizer):
    """Converts text to token ids and back, with the same tokens as transformers' BartTokenizer.

    Six things differ. A folder without a sound BART tokenizer is an InputError. ``model_max_length`` is 1024 if the
    folder has none, never 1e30. A ``<mask>`` in a text includes the space before it, as in the published tokenizer.json
    and in transformers 4, unless the folder's files say otherwise; transformers 5 loses that with vocab.json and
    merges.txt. Saving also writes vocab.json and merges.txt, for older programs. An added token such as "café" is
    decoded as itself, while transformers' class takes its letters for bytes. A folder with such a token names
    transformers' general class, with which AutoTokenizer reads the decoder from tokenizer.json. A special token that is
    null in a file is BART's own, while transformers' class has none, or (of cls and sep) fails.
    """

    # Without an __init__ of its own, transformers would load a subclass in another way that drops the given settings.
    def __init__(
        self,
        *arguments: Any,
        model_max_length: float = MAX_LENGTH,
        mask_token: str | AddedToken | None = "<mask>",
        **settings: Any,
    ) -> None:
        length = MAX_LENGTH if model_max_length > UNLIMITED else model_max_length
        if not isinstance(mask_token, AddedToken):
            mask_token = AddedToken("<mask>" if mask_token is None else mask_token, lstrip=True, special=True)
        of_files = {name for name in NAMED_TOKENS if settings.get(name, "") is None} | {FILES_BY_VERSION}
        settings = {name: value for name, value in settings.items() if name not in of_files}
        super().__init__(*arguments, model_max_length=length, mask_token=mask_token, **settings)

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | os.PathLike[str], *arguments: Any, **settings: Any
    ) -> Self:
        """Load a folder (tokenizer.json, or vocab.json with merges.txt) or the tokenizer of a model on the hub.

        Args:
            pretrained_model_name_or_path: the folder or hub id.
            arguments: passed to transformers.
            settings: for the constructor, such as add_prefix_space or model_max_length.

        Raises:
            InputError: there is no such folder or model, or its tokenizer is missing, unreadable or incomplete.
        """
        folder = find_tokenizer(pretrained_model_name_or_path)
        with refuse_what_libraries_raise(folder):
            tokenizer: Self = super().from_pretrained(folder, *arguments, **settings)
        return tokenizer

    def _add_tokens(self, new_tokens: Sequence[str | AddedToken], special_tokens: bool = False) -> int:
        """Add tokens, and decode them as themselves; all ways to add tokens end here."""
        count: int = super()._add_tokens(new_tokens, special_tokens)
        if misread := [token for token in self.get_added_vocab() if is_misread(token)]:
            self.backend_tokenizer.decoder = added_token_decoder(misread)
        return count

    def save_pretrained(
        self, save_directory: str | os.PathLike[str], *arguments: Any, **settings: Any
    ) -> tuple[str, ...]:
        """Write tokenizer.json and tokenizer_config.json as transformers does, and vocab.json and merges.txt.

        added_tokens.json holds the tokens that vocab.json lacks, if there are any.

        Returns:
            the paths of all files

        Raises:
            OSError: a file cannot be written, for example because the disk is full.
        """
        try:
            files: tuple[str, ...] = super().save_pretrained(save_directory, *arguments, **settings)
            files += tuple(self.backend_tokenizer.model.save(os.fspath(save_directory)))
            return (*files, *self._save_added_tokens(Path(save_directory)))
        except Exception as error:
            if type(error) is Exception:  # tokenizers raises it for a full disk
                raise OSError(f"{os.fspath(save_directory)}: {error}") from error
            raise

    def _save_added_tokens(self, folder: Path) -> list[str]:
        """Write what vocab.json does not hold, and which class decodes it; return the paths of further files."""
        if not isinstance(self.backend_tokenizer.decoder, ByteLevel):
            config = read_json_object(folder / CONFIG_FILE) | {"tokenizer_class": "PreTrainedTokenizerFast"}
            (folder / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        vocabulary = self.backend_tokenizer.get_vocab(with_added_tokens=False)
        added = {token: number for token, number in self.get_added_vocab().items() if token not in vocabulary}
        if not added:
            return []
        (folder / ADDED_TOKENS_FILE).write_text(json.dumps(added, indent=2) + "\n", encoding="utf-8")
        return [str(folder / ADDED_TOKENS_FILE)]


def check_fits_mask(tokenizer: BartTokenizer, config: "VocabularyConfig") -> None:
    """Check that the model's vocabulary has <mask>, which pre-training needs.

    Raises:
        InputError: it lacks <mask>.
    """
    if tokenizer.mask_token_id >= config.vocab_size:
        raise InputError(
            f"the model's vocabulary of {config.vocab_size} tokens lacks <mask> (id {tokenizer.mask_token_id}), which "
            "pre-training needs; start from a pretrained model, not from a fine-tuned one without it"
        )


class VocabularyConfig(Protocol):
    """The part of a model's configuration that a tokenizer must fit."""

    vocab_size: int
    pad_token_id: int
    bos_token_id: int
    eos_token_id: int


def check_fits(tokenizer: BartTokenizer, config: VocabularyConfig, name: str) -> None:
    """Check that a tokenizer can be the model's.

    It may have fewer tokens than the model's vocabulary, and the model may lack <mask> alone: bart-large-cnn has 50264
    tokens, its tokenizer 50265.

    Args:
        tokenizer: the tokenizer to check.
        config: of the model.
        name: of the tokenizer, for messages.

    Raises:
        InputError: an id is not in the model's vocabulary, or a special token has another id.
    """
    # Only pre-training needs <mask>; the vocabularies of bart-large-cnn and bart-large-xsum end just before it.
    largest = max(token_id for token, token_id in tokenizer.get_vocab().items() if token != tokenizer.mask_token)
    if largest >= config.vocab_size:
        raise InputError(
            f"{name}: the tokenizer's ids go up to {largest}, the model's vocabulary has {config.vocab_size} tokens; "
            "give the tokenizer that the model was trained with"
        )
    for token in ("bos_token_id", "pad_token_id", "eos_token_id"):
        token_id, expected = getattr(tokenizer, token), getattr(config, token)
        if token_id != expected:
            raise InputError(
                f"{name}: {token} is {token_id} in the tokenizer, {expected} in the model's configuration; "
                "give the tokenizer that the model was trained with"
            )
