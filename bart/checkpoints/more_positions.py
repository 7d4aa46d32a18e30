"""Give a model more positions than it has learnt, by repeating these: so LED was made from BART.

Beltagy et al. 2020, https://arxiv.org/abs/2004.05150, sections 5 and 7. At first tokens whose distance is a multiple of
the learnt positions have the same embedding of position, so a model must be trained on longer texts before it is used.
"""

import logging

import torch
from torch import Tensor

from bart.configuration.configuration_bart import POSITION_OFFSET, BartConfig
from bart.errors import InputError

_TABLES = ("model.encoder.embed_positions.weight", "model.decoder.embed_positions.weight")


_log = logging.getLogger(__name__)


def with_positions(config: BartConfig, max_positions: int) -> BartConfig:
    """Return the configuration of a model that is given so many positions, and log that they have to be learnt.

    Raises:
        InputError: the model has more.
    """
    learnt = config.max_position_embeddings
    if max_positions < learnt:
        raise InputError(
            f"max_positions={max_positions}: the model has {learnt} positions, and none are taken away; give more than"
            f" {learnt}, or leave it out"
        )
    if max_positions == learnt:
        return config
    _log.warning("the model's %s positions are repeated to make %s: it has to be trained", learnt, max_positions)
    return config.copy(max_position_embeddings=max_positions)


def repeat_positions(tensors: dict[str, Tensor], expected: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a file with tables of positions as long as the model expects them.

    Args:
        tensors: by their names in a model's state dict; each table is (P + 2, D).
        expected: the model's state dict; only its names and shapes count.

    Returns:
        The same with tables (P' + 2, D): the first two rows, which are never used, then the other P again and again.
        Tables that are not shorter than expected, or no tables, are left for others to check.
    """
    longer = {}
    for name in _TABLES:
        table, rows = tensors.get(name), len(expected[name])
        if table is not None and table.ndim == 2 and POSITION_OFFSET < len(table) < rows:
            unused, learnt = table[:POSITION_OFFSET], table[POSITION_OFFSET:]
            times = -(-rows // len(learnt))
            longer[name] = torch.cat([unused, learnt.repeat(times, 1)])[:rows]
    return {**tensors, **longer}
