"""How much memory a training takes, by formula: for choosing a batch size before the first step.

Sizes: d of the model, f of a feed-forward network, h bytes of a number that matrix products read (2 in mixed precision,
else 4); S and T tokens of a padded source and target. Attention keeps queries, keys, values and its output (in float32
on a CPU twice, with padding and without), never the T x S weights; dropout keeps a byte per number; norms keep their
inputs in float32.
"""

from dataclasses import dataclass

from bart.configuration.configuration_bart import BartConfig
from bart.modeling.layers.fused_cross_entropy import LOGITS_AT_ONCE

WEIGHT_BYTES, _GRADIENT, _MOMENTS = 4, 4, 8  # bytes per parameter: float32, and the two moments of Adam


@dataclass(frozen=True)
class MemoryPlan:
    """What is trained, and how."""

    config: BartConfig
    parameters: int
    trained_parameters: int
    mixed_precision: bool
    gradient_checkpointing: bool


def state_bytes(plan: MemoryPlan) -> int:
    """Weights, gradients and optimizer; in mixed precision the half copies of the weights, too."""
    copies = half_copy_bytes(plan)
    return WEIGHT_BYTES * plan.parameters + (_GRADIENT + _MOMENTS) * plan.trained_parameters + copies


def half_copy_bytes(plan: MemoryPlan) -> int:
    """The copies of the weights in 16 bits that mixed precision makes."""
    return 2 * plan.parameters if plan.mixed_precision else 0


def activation_bytes(plan: MemoryPlan, examples: int, source_length: int, target_length: int) -> int:
    """What the forward pass keeps for the backward pass, and the work space of the loss."""
    config, half = plan.config, 2 if plan.mixed_precision else 4
    sources, targets, d = examples * source_length, examples * target_length, config.d_model
    # What a gelu is made of is kept, and not what it makes, unless there is dropout of it.
    inner = 1 if config.activation_function == "gelu" and config.activation_dropout == 0 else 2
    feed_forward = half * d + (5 + 1) * d  # its input; the norm's input, the mask of dropout, and a number to spare
    attention = half * 4 * d + (0 if plan.mixed_precision else 4 * d)
    encoder_layer = sources * (attention + half * d + 5 * d + feed_forward + inner * half * config.encoder_ffn_dim)
    decoder_layer = targets * (2 * attention + 10 * d + feed_forward + inner * half * config.decoder_ffn_dim)
    decoder_layer += sources * half * 3 * d  # keys and values of the source, and what they are made of
    embeddings = (sources + targets) * 5 * d
    layers = config.encoder_layers * encoder_layer + config.decoder_layers * decoder_layer
    if plan.gradient_checkpointing:
        inputs = 4 * d * (config.encoder_layers * sources + config.decoder_layers * targets)
        layers = inputs + max(encoder_layer, decoder_layer)
    logits = min(targets * config.vocab_size, LOGITS_AT_ONCE) * (4 + 2 * half)
    return embeddings + layers + logits + targets * d * (4 + half)
