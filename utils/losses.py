"""The training objective."""

import torch
import torch.nn.functional as F
from torch import Tensor

from bart.modeling.modeling_bart import IGNORED_LABEL


def summed_cross_entropy(logits: Tensor, labels: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Cross entropy summed over the target tokens, in nats.

    ``logits`` is (B, T, V), ``labels`` (B, T). Smoothing (Szegedy et al. 2016, https://arxiv.org/abs/1512.00567,
    section 7) mixes the one-hot target with the uniform distribution over the vocabulary. Computed in float32 at least.
    """
    precision = torch.promote_types(logits.dtype, torch.float32)
    return F.cross_entropy(
        logits.flatten(0, 1).to(precision),  # (B * T, V)
        labels.flatten(),
        ignore_index=IGNORED_LABEL,
        reduction="sum",
        label_smoothing=label_smoothing,
    )
