"""Replace tokens that a model has no embedding of by <unk>.

The embeddings of bart-large-cnn and bart-large-xsum end just before <mask>, which their tokenizers have. Files of
tokens hold the ids of the tokenizer, whatever model reads them, so ids are replaced when they are read.
"""

from dataclasses import dataclass

import numpy as np
from transformers import PreTrainedTokenizerBase

from bart.configuration.configuration_bart import BartConfig

_COUNTED_AT_ONCE = 2**24  # tokens; the file that holds them may be larger than the memory


@dataclass(frozen=True)
class ModelVocabulary:
    """The ids that a model knows: those from 0 to ``size`` - 1."""

    size: int
    unk_token_id: int

    def known(self, ids: np.ndarray) -> np.ndarray:
        """Return the ids (N,) with <unk> in place of those that the model does not know."""
        return np.where(ids < self.size, ids, ids.dtype.type(self.unk_token_id))

    def count_unknown(self, ids: np.ndarray) -> int:
        """Count the ids (N,) that the model does not know."""
        starts = range(0, len(ids), _COUNTED_AT_ONCE)
        return sum(int(np.count_nonzero(ids[start : start + _COUNTED_AT_ONCE] >= self.size)) for start in starts)


def smaller_vocabulary(tokenizer: PreTrainedTokenizerBase, config: BartConfig) -> ModelVocabulary | None:
    """Return the model's vocabulary, or None if it has every token of the tokenizer."""
    if max(tokenizer.get_vocab().values()) < config.vocab_size:
        return None
    return ModelVocabulary(config.vocab_size, tokenizer.unk_token_id)


def unknown_tokens_text(count: int) -> str:
    """Say in part of a sentence that the model reads ``count`` tokens as <unk>."""
    tokens = "token is" if count == 1 else "tokens are"
    return f"{count:,} {tokens} not in the model's vocabulary (<mask>), so it reads <unk> there"
