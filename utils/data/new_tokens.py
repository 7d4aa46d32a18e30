"""Add tokens of a file to a tokenizer, for a model that is to learn words as a whole."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from bart.configuration.configuration_bart import BartConfig
from bart.errors import InputError

from .line_files import iterate_lines, one_line

_SHOWN = 5  # tokens in a message


@dataclass(frozen=True)
class NewTokens:
    """Says how a model grows when tokens are added to its tokenizer."""

    pieces: dict[int, list[int]]  # by new id: the ids that the tokenizer had for the same text
    vocab_size: int  # of the model before
    remarks: list[str]  # lines for people: what was added and what was left out


def add_tokens_of_file(path: Path, tokenizer: PreTrainedTokenizerBase, config: BartConfig) -> NewTokens:
    """Add the tokens of a file, one a line, to a tokenizer, which then reads them wherever they stand in a text.

    Empty lines, repeated tokens, and tokens that are one token already, alone or after a space, are left out.

    Args:
        path: The file.
        tokenizer: It gets the tokens, in their order.
        config: Of the model as it is. A model that lacks <mask> gets a row for it, which it reads as <unk>, as before.

    Raises:
        InputError: The file cannot be read or holds nothing new, or a line is no token.
    """
    lines, remarks = _distinct_lines(path)
    vocabulary, added, present = tokenizer.get_vocab(), dict[str, int](), list[str]()
    pieces: list[list[int]] = []
    for token, number in lines.items():
        ids = _ids(token, tokenizer)
        if len(ids) == 1 or len(_ids(f" {token}", tokenizer)) == 1:
            present.append(token)
        elif token in vocabulary:  # bytes have the names of other characters, such as 0xE9 that of é
            raise InputError(f"{_place(path, number)} {token!r} is the tokenizer's name for other bytes; remove it")
        else:
            added[token] = number
            pieces.append(ids)
    if present:
        remarks.append(f"left out, as the tokenizer has {_counted(present)}")
    if not added:
        raise InputError(f"--add_tokens {path}: holds no new token" + "".join(f"; {remark}" for remark in remarks))

    # Add them, and see that each is read as itself.
    tokenizer.add_tokens(list(added))
    taken = set(vocabulary.values())
    for token, number in added.items():
        token_id = tokenizer.convert_tokens_to_ids(token)
        if token_id in taken:
            raise InputError(f"--add_tokens {path}: the tokenizer's ids have gaps, so it cannot grow; give another one")
        if _ids(token, tokenizer) != [token_id]:
            raise InputError(f"{_place(path, number)} {token!r} holds another token, which is read first; remove it")
    of_new = dict(zip(map(tokenizer.convert_tokens_to_ids, added), pieces, strict=True))
    without_row = set(range(config.vocab_size, max(of_new) + 1)) - of_new.keys()
    of_new |= {token_id: [tokenizer.unk_token_id] for token_id in without_row}
    remarks.insert(0, f"added {_counted(list(added))}; the tokenizer has {len(tokenizer):,} now")
    return NewTokens(of_new, config.vocab_size, [f"--add_tokens {path}: {remark}" for remark in remarks])


def check_tokens_of_file(path: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    """Check that a resumed run, with its own tokenizer, has been told the same tokens.

    Raises:
        InputError: The file cannot be read, or the tokenizer lacks one of its tokens.
    """
    for token, number in _distinct_lines(path)[0].items():
        if len(_ids(token, tokenizer)) > 1 and len(_ids(f" {token}", tokenizer)) > 1:
            raise InputError(
                f"--resume: {_place(path, number)} {token!r} is not among the tokens of the interrupted run; give the"
                " same file"
            )


def grown(config: BartConfig, tokens: NewTokens) -> BartConfig:
    """Return the configuration of the model with a row for each token."""
    return config.copy(vocab_size=max(config.vocab_size, max(tokens.pieces) + 1))


def _distinct_lines(path: Path) -> tuple[dict[str, int], list[str]]:
    """Return the number of the first line of each token, and remarks about lines that are left out."""
    if not path.is_file():
        raise InputError(f"--add_tokens {path}: no such file; give a text file with one token a line")
    lines: dict[str, int] = {}
    empty, repeated = list[str](), list[str]()
    for number, token in enumerate(iterate_lines(path), start=1):
        if not token.strip():
            empty.append(str(number))
        elif token != one_line(token):
            raise InputError(
                f"{_place(path, number)} {token!r} begins or ends with white space, or holds a line break; remove it"
            )
        elif token in lines:
            repeated.append(token)
        else:
            lines[token] = number
    return lines, list(_remarks(empty, repeated))


def _remarks(empty: list[str], repeated: list[str]) -> Iterator[str]:
    if empty:
        yield f"left out, as empty: line {_some_of(empty)}"
    if repeated:
        yield f"left out, as repeated: {_some_of(repeated)}"


def _ids(text: str, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    ids: list[int] = tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids
    return ids


def _place(path: Path, number: int) -> str:
    return f"--add_tokens {path}: line {number}:"


def _counted(tokens: list[str]) -> str:
    """Count the tokens, and list the first ones."""
    return f"{len(tokens):,} token{'s' * (len(tokens) > 1)} ({_some_of(tokens)})"


def _some_of(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
