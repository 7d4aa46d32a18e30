"""Training a new byte-level BPE with BART's layout of ids."""

import json
import os
from collections.abc import Iterable
from pathlib import Path

from tokenizers import AddedToken, Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer

from bart.atomic_directory import atomic_directory
from bart.errors import InputError
from bart.tokenization.tokenization_bart import BartTokenizer
from bart.tokenization.tokenizer_files import SPECIAL_TOKENS

FEWEST_TOKENS = len(ByteLevel.alphabet()) + len(SPECIAL_TOKENS)


def train_tokenizer(lines: Iterable[str], vocab_size: int, folder: str | os.PathLike[str]) -> None:
    """Train a tokenizer on ``lines`` and save it as ``folder``: the same lines give the same files.

    Ids as in BART: <s> 0, <pad> 1, </s> 2, <unk> 3, the bytes and the merges, <mask> last. Few lines may yield fewer
    than ``vocab_size`` tokens. BART's lines begin with a space (config.prefix): give them so.

    Raises:
        InputError: ``vocab_size`` does not hold the 256 bytes and the 5 special tokens.
    """
    if vocab_size < FEWEST_TOKENS:
        raise InputError(f"vocab_size {vocab_size}: a byte-level tokenizer needs at least {FEWEST_TOKENS} tokens")
    *first, mask = SPECIAL_TOKENS
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    trainer = BpeTrainer(
        vocab_size=vocab_size - 1,  # <mask> follows
        min_frequency=2,
        special_tokens=first,
        initial_alphabet=ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(lines, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    vocabulary = {**model["vocab"], mask: len(model["vocab"])}
    merges = [tuple(merge) for merge in model["merges"]]
    mask_token = AddedToken(mask, lstrip=True, special=True)  # as in BART, it takes the space before it
    with atomic_directory(Path(folder)) as partial:
        BartTokenizer(vocab=vocabulary, merges=merges, mask_token=mask_token).save_pretrained(partial)
