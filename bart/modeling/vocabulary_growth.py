"""Growing a model's vocabulary: rows of the table of embeddings, which is also the output layer, for new tokens."""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import nn

from bart.modeling.modeling_bart import BartForConditionalGeneration


@torch.no_grad()
def grow_vocabulary(
    model: BartForConditionalGeneration, vocab_size: int, pieces: Mapping[int, Sequence[int]]
) -> None:
    """Give new tokens the mean embedding, and the mean bias of the logits, of the tokens that they replace, in place.

    So a new token means about what its pieces did.

    Args:
        model: to grow. Its parameters of the table are replaced, so an optimizer must be made afterwards.
        vocab_size: tokens of the model afterwards, no fewer than before.
        pieces: ids of the replaced tokens by the id of each new one, which may be an unused row of the table.
    """
    shared, bias = model.model.shared, model.final_logits_bias
    missing = vocab_size - len(shared.weight)
    table, grown_bias = F.pad(shared.weight, (0, 0, 0, missing)), F.pad(bias, (0, missing))
    for token_id, replaced in pieces.items():
        table[token_id] = shared.weight[list(replaced)].mean(0)
        grown_bias[0, token_id] = bias[0, list(replaced)].mean()
    shared.weight = nn.Parameter(table, requires_grad=shared.weight.requires_grad)
    shared.num_embeddings = vocab_size
    model.final_logits_bias = grown_bias
    model.config = model.config.copy(vocab_size=vocab_size)
