"""Decoding added tokens, which are stored as plain text among tokens that are stored as bytes.

In byte-level BPE (Radford et al. 2019) each character of a token's name stands for a byte: "Ã©" is the UTF-8 of é. An
added token has its text for a name. ``tokenizers`` takes that for bytes if every character of it is the name of one, so
that an added "café" would be decoded as caf and half a character.
"""

import re
from collections.abc import Sequence

from tokenizers import Regex
from tokenizers.decoders import ByteLevel, Decoder, Replace
from tokenizers.decoders import Sequence as DecoderSequence
from tokenizers.pre_tokenizers import ByteLevel as ByteLevelAlphabet

_NAMES_OF_BYTES = frozenset(ByteLevelAlphabet.alphabet())
_MARK = "\uffff"  # no character, and so not the name of a byte


def is_misread(token: str) -> bool:
    """Return whether an added token would be decoded as other text, since its characters are the names of bytes."""
    return not token.isascii() and _NAMES_OF_BYTES.issuperset(token)


def added_token_decoder(misread: Sequence[str]) -> Decoder:
    """Make a decoder of byte-level BPE that decodes these added tokens as themselves.

    It puts a mark before each of them, so that their characters are not all names of bytes, and removes it at last.
    """
    names = "|".join(map(re.escape, misread))
    return DecoderSequence([Replace(Regex(f"^(?=(?:{names})$)"), _MARK), ByteLevel(), Replace(_MARK, "")])
