"""The tokens that a model has embeddings of, if its tokenizer has more.

The tables of bart-large-cnn and bart-large-xsum end just before <mask>, which their tokenizers have: where a text holds
one, the model reads <unk>. The tokens in files are the tokenizer's, whatever model reads them.
"""

from dataclasses import dataclass

import numpy as np
from transformers import PreTrainedTokenizerBase

from bart.configuration.configuration_bart import BartConfig

_COUNTED_AT_ONCE = 2**24  # tokens; they may lie in a file that is larger than the memory


@dataclass(frozen=True)
class ModelVocabulary:
    """Ids from 0 up to ``size`` are known to the model."""

    size: int
    unk_token_id: int

    def known(self, ids: np.ndarray) -> np.ndarray:
        """The ids (N,), with <unk> in the place of those that the model does not know."""
        return np.where(ids < self.size, ids, ids.dtype.type(self.unk_token_id))

    def count_unknown(self, ids: np.ndarray) -> int:
        """Count the ids (N,) that the model does not know."""
        starts = range(0, len(ids), _COUNTED_AT_ONCE)
        return sum(int(np.count_nonzero(ids[start : start + _COUNTED_AT_ONCE] >= self.size)) for start in starts)


def smaller_vocabulary(tokenizer: PreTrainedTokenizerBase, config: BartConfig) -> ModelVocabulary | None:
    """The model's vocabulary, or None if it has every token of the tokenizer."""
    if max(tokenizer.get_vocab().values()) < config.vocab_size:
        return None
    return ModelVocabulary(config.vocab_size, tokenizer.unk_token_id)


def unknown_tokens_text(count: int) -> str:
    """Say that so many tokens were read as <unk>, in a part of a sentence."""
    tokens = "token is" if count == 1 else "tokens are"
    return f"{count:,} {tokens} not in the model's vocabulary (<mask>), so it reads <unk> there"
