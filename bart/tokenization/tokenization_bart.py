"""BART's byte-level BPE tokenizer: transformers' own, with checks when it is loaded."""

import os
from typing import Any, Protocol, Self

import transformers
from tokenizers import AddedToken

from bart.errors import InputError
from bart.tokenization.tokenizer_files import find_tokenizer

MAX_LENGTH = 1024  # tokens; the positions that the published models were trained with
UNLIMITED = 10**29  # transformers writes 1e30 where a tokenizer names no greatest length


class BartTokenizer(transformers.BartTokenizer):
    """Text to token ids and back, token for token as transformers' BartTokenizer.

    Four things differ. Loading a folder that holds no sound BART tokenizer is an InputError. ``model_max_length`` is
    what the folder says, else 1024, never 1e30. A ``<mask>`` in a text takes the space before it, as in the published
    tokenizer.json and in transformers 4, unless the folder's files say otherwise; transformers 5 forgets that of
    vocab.json and merges.txt. Saving also writes vocab.json and merges.txt, for older programs.
    """

    # transformers loads a subclass without an __init__ of its own along another path, which drops the given settings.
    def __init__(
        self,
        *arguments: Any,
        model_max_length: float = MAX_LENGTH,
        mask_token: str | AddedToken = "<mask>",
        **settings: Any,
    ) -> None:
        length = MAX_LENGTH if model_max_length > UNLIMITED else model_max_length
        if isinstance(mask_token, str):
            mask_token = AddedToken(mask_token, lstrip=True, special=True)
        super().__init__(*arguments, model_max_length=length, mask_token=mask_token, **settings)

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | os.PathLike[str], *arguments: Any, **settings: Any
    ) -> Self:
        """Load a folder (tokenizer.json, or vocab.json with merges.txt) or the tokenizer of a model on the hub.

        ``settings`` go to the constructor: add_prefix_space, model_max_length.

        Raises:
            InputError: no such folder or model, no tokenizer there, or an unreadable or incomplete one.
        """
        folder = find_tokenizer(pretrained_model_name_or_path)
        tokenizer: Self = super().from_pretrained(folder, *arguments, **settings)
        return tokenizer

    def save_pretrained(
        self, save_directory: str | os.PathLike[str], *arguments: Any, **settings: Any
    ) -> tuple[str, ...]:
        """Write tokenizer.json and tokenizer_config.json as transformers does, and vocab.json and merges.txt.

        Raises OSError.
        """
        try:
            files: tuple[str, ...] = super().save_pretrained(save_directory, *arguments, **settings)
            return (*files, *self.backend_tokenizer.model.save(os.fspath(save_directory)))
        except Exception as error:
            if type(error) is Exception:  # that is all tokenizers says of a full disk
                raise OSError(f"{os.fspath(save_directory)}: {error}") from error
            raise


def check_fits_mask(tokenizer: BartTokenizer, config: "ModelVocabulary") -> None:
    """Refuse a model that has no <mask>, which pre-training needs. Raises InputError."""
    if tokenizer.mask_token_id >= config.vocab_size:
        raise InputError(
            f"the model's vocabulary of {config.vocab_size} tokens lacks <mask> (id {tokenizer.mask_token_id}), which "
            "pre-training needs; start from a pretrained model, not from a fine-tuned one without it"
        )


class ModelVocabulary(Protocol):
    """What check_fits reads of a model's configuration."""

    vocab_size: int
    pad_token_id: int
    bos_token_id: int
    eos_token_id: int


def check_fits(tokenizer: BartTokenizer, config: ModelVocabulary, name: str) -> None:
    """Refuse a tokenizer that is not the model's. One with fewer tokens than the model's vocabulary is legal.

    So is one whose <mask> alone the model lacks: 50265 tokens for the 50264 of bart-large-cnn.

    Raises:
        InputError: ids beyond the model's vocabulary, or other ids of the special tokens. ``name`` says whose they are.
    """
    # <mask> is for pre-training; the vocabularies of bart-large-cnn and bart-large-xsum end just before it.
    largest = max(token_id for token, token_id in tokenizer.get_vocab().items() if token != tokenizer.mask_token)
    if largest >= config.vocab_size:
        raise InputError(
            f"{name}: the tokenizer's ids go up to {largest}, the model's vocabulary has {config.vocab_size} tokens; "
            "give the tokenizer that the model was trained with"
        )
    for kind in ("bos", "pad", "eos"):
        token_id, expected = getattr(tokenizer, f"{kind}_token_id"), getattr(config, f"{kind}_token_id")
        if token_id != expected:
            raise InputError(
                f"{name}: {kind}_token_id is {token_id} in the tokenizer, {expected} in the model's configuration; "
                "give the tokenizer that the model was trained with"
            )
