"""Token ids of many texts."""

import zlib
from dataclasses import dataclass, replace

import numpy as np

from ..model_vocabulary import ModelVocabulary


@dataclass
class TokenStore:
    """Token ids of many texts in one flat array: text i is ``tokens[offsets[i] : offsets[i + 1]]``."""

    tokens: np.ndarray  # uint16, or int32 where the vocabulary is larger; may lie in a memory-mapped file
    offsets: np.ndarray  # int64, one more than there are texts
    known_checksum: int | None = None  # of tokens in a file, so that it need not be read
    vocabulary: ModelVocabulary | None = None  # of the model that reads them; None: it knows every token

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> np.ndarray:
        ids = self.tokens[self.offsets[row] : self.offsets[row + 1]]
        return ids if self.vocabulary is None else self.vocabulary.known(ids)

    def read_by(self, vocabulary: ModelVocabulary | None) -> "TokenStore":
        """The same tokens for a model with that vocabulary, if it is smaller than the tokenizer's."""
        return replace(self, vocabulary=vocabulary)

    def count_unknown(self) -> int:
        """Count the tokens that the model reads as <unk> because it does not know them."""
        return 0 if self.vocabulary is None else self.vocabulary.count_unknown(self.tokens)

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each text."""
        return np.diff(self.offsets)

    def checksum(self) -> int:
        """A number that differs when the tokens do, whatever model reads them."""
        if self.known_checksum is not None:
            return self.known_checksum
        return zlib.crc32(self.offsets.tobytes(), zlib.crc32(self.tokens.tobytes()))
