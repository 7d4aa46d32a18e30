"""A language model small enough to search by hand: the next token's probabilities depend on the last two tokens."""

import torch
from torch import Tensor

from bart.configuration.generation_config import GenerationConfig
from bart.generation.arguments import SpecialTokens
from bart.generation.beam_search import beam_search
from bart.generation.logits_processors import build_logits_processors
from bart.generation.output import GenerationOutput

START, PAD, EOS, A, B = range(5)


class TableDecoder:
    """Takes the place of ``StepDecoder``. Each row remembers what it has read, as a cache does."""

    def __init__(self, table: Tensor, rows: int) -> None:
        """table: (V, V, V), of the token before the last, the last token, and the probability of each next one."""
        self.log_probs = table.log()
        self.read = torch.empty(rows, 0, dtype=torch.long)

    def next_logits(self, tokens: Tensor) -> Tensor:
        self.read = torch.cat([self.read, tokens[:, None]], 1)
        before = self.read[:, -2] if self.read.size(1) > 1 else tokens
        return self.log_probs[before, tokens]

    def reorder(self, rows: Tensor) -> None:
        self.read = self.read[rows]


def search(table: Tensor, **settings: object) -> GenerationOutput:
    """Beam search for one sentence."""
    chosen = GenerationConfig(output_scores=True, return_dict_in_generate=True, **settings)
    chosen.check_search("test")
    decoder = TableDecoder(table, chosen.num_beams)
    special = SpecialTokens(START, PAD, [EOS])
    processors = build_logits_processors(chosen, torch.tensor([[START, EOS]]), special)
    return beam_search(decoder, torch.tensor([[START]]), chosen, special, processors)
