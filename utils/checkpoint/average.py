"""The mean of the weights of several checkpoints of a training (Vaswani et al. 2017, section 6.1)."""

from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import torch

from bart.checkpoints.weights import StoredModel
from bart.modeling.modeling_bart import BartForConditionalGeneration


def averaged_model(paths: Sequence[Path]) -> BartForConditionalGeneration:
    """Return a model, in evaluation mode and float32, whose weights are the means of those of the checkpoints.

    They are summed up in float64, in the given order, with the weights of one checkpoint in memory at a time.

    Args:
        paths: checkpoints of one training, at least one.

    Raises:
        InputError: a checkpoint cannot be read, or is damaged.
    """
    model = BartForConditionalGeneration.from_pretrained(paths[0])
    tensors = dict(chain(model.named_parameters(), model.named_buffers()))  # tied ones once
    sums = {name: tensor.detach().double() for name, tensor in tensors.items()}
    for path in paths[1:]:
        weights = StoredModel(path).weights(model.state_dict())
        for name, total in sums.items():
            total += weights[name]
    with torch.no_grad():
        for name, tensor in tensors.items():
            tensor.copy_(sums[name] / len(paths))
    return model
