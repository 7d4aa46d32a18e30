"""The tokenizer of a model.pt: from fairseq's dict.txt, which orders the tokens of GPT-2, and GPT-2's two files.

``dict.txt`` has a line ``<GPT-2 id> <count>`` for each token, in the order of BART's ids. Four special tokens come
before the first line, and <mask> after the last one (fairseq/data/dictionary.py, fairseq/tasks/denoising.py).
"""

import json
import tempfile
from pathlib import Path

from bart.errors import InputError, printable
from bart.json_files import TOKENIZER_BYTES, check_size
from bart.tokenization.tokenization_bart import BartTokenizer
from bart.tokenization.tokenizer_files import MERGES_FILE, SPECIAL_TOKENS, VOCABULARY_FILE, read_ids

DICTIONARY_FILES = ("dict.txt", "dict.source.txt")  # in published models, and as fairseq-preprocess writes it
GPT2_VOCABULARY_FILE, GPT2_MERGES_FILE = "encoder.json", "vocab.bpe"
_MOST_DIGITS = 9  # of an id
_WHERE_THEY_ARE = "https://dl.fbaipublicfiles.com/fairseq/gpt2_bpe/"


def load_fairseq_tokenizer(checkpoint: Path) -> BartTokenizer:
    """Load a tokenizer from the files beside a model.pt.

    Raises:
        InputError: a file is missing or unusable.
    """
    folder = checkpoint.parent
    dictionary = next((folder / name for name in DICTIONARY_FILES if (folder / name).is_file()), None)
    missing = [name for name in (GPT2_VOCABULARY_FILE, GPT2_MERGES_FILE) if not (folder / name).is_file()]
    if dictionary is None or missing:
        lacks = ", ".join([DICTIONARY_FILES[0]] * (dictionary is None) + missing)
        raise InputError(
            f"{checkpoint}: no {lacks} beside it; fetch it from {_WHERE_THEY_ARE} or give --tokenizer_name_or_path, "
            "such as facebook/bart-large"
        )
    vocabulary = read_vocabulary(dictionary, folder / GPT2_VOCABULARY_FILE)
    with tempfile.TemporaryDirectory() as written:
        (Path(written) / VOCABULARY_FILE).write_text(json.dumps(vocabulary), encoding="utf-8")
        (Path(written) / MERGES_FILE).write_bytes((folder / GPT2_MERGES_FILE).read_bytes())
        return BartTokenizer.from_pretrained(written)


def read_vocabulary(dictionary: Path, gpt2_vocabulary: Path) -> dict[str, int]:
    """Return BART's ids by token.

    Args:
        dictionary: fairseq's dict.txt.
        gpt2_vocabulary: GPT-2's encoder.json.

    Raises:
        InputError: the dictionary cannot be read, or a line of it cannot belong to a BART.
    """
    tokens = {token_id: token for token, token_id in read_ids(gpt2_vocabulary).items()}
    first, mask = SPECIAL_TOKENS[:-1], SPECIAL_TOKENS[-1]
    vocabulary = {token: token_id for token_id, token in enumerate(first)}
    try:
        check_size(dictionary, TOKENIZER_BYTES)
        lines = dictionary.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{dictionary}: cannot be read: {error}") from error
    for number, line in enumerate(lines, start=1):
        symbol = line.split(" ")[0]
        is_id = symbol.isdecimal() and len(symbol) <= _MOST_DIGITS
        token = tokens.get(int(symbol)) if is_id else symbol  # fillers such as madeupword0000
        if not token or token in vocabulary:
            named = printable(symbol, 60)
            wrong = f"{named} is there twice" if token else f"'{named}' is no token of {gpt2_vocabulary.name}"
            raise InputError(f"{dictionary}: line {number}: {wrong}; fetch {dictionary.name} of the model again")
        vocabulary[token] = len(vocabulary)
    vocabulary.setdefault(mask, len(vocabulary))
    return vocabulary
