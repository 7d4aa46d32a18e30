"""Estimates the memory of a training by formula, so that a batch size can be chosen before the first step.

The formula counts what the forward pass keeps for the backward pass. Matrix products keep their inputs, of 2 bytes per
number in mixed precision and else of 4. Attention keeps queries, keys, values and its output (in float32 on a CPU
twice, with padding and without), never the weights of all pairs of tokens. Dropout keeps a byte per number. Norms keep
their inputs in float32.
"""

from dataclasses import dataclass

from bart.checkpoints.adapters import has_adapters
from bart.configuration.configuration_bart import BartConfig
from bart.modeling.layers.fused_cross_entropy import LOGITS_AT_ONCE
from bart.modeling.modeling_bart import BartForConditionalGeneration

WEIGHT_BYTES, _GRADIENT, _MOMENTS = 4, 4, 8  # bytes per parameter: all float32, and Adam has two moments


@dataclass(frozen=True)
class MemoryPlan:
    """The facts about a training that determine its memory."""

    config: BartConfig
    parameters: int
    trained_parameters: int
    mixed_precision: bool
    gradient_checkpointing: bool
    adapters: bool = False  # whether linear layers have them


def memory_plan(model: BartForConditionalGeneration, mixed_precision: bool) -> MemoryPlan:
    """Return the plan of a training of a model, of which some parts may be frozen."""
    return MemoryPlan(
        model.config,
        parameters=sum(weight.numel() for weight in model.parameters()),
        trained_parameters=sum(weight.numel() for weight in model.parameters() if weight.requires_grad),
        mixed_precision=mixed_precision,
        gradient_checkpointing=model.model.encoder.gradient_checkpointing,
        adapters=has_adapters(name for name, _ in model.named_parameters()),
    )


def state_bytes(plan: MemoryPlan) -> int:
    """Return the bytes of weights, gradients, optimizer and, in mixed precision, half-precision weights."""
    copies = half_copy_bytes(plan)
    return WEIGHT_BYTES * plan.parameters + (_GRADIENT + _MOMENTS) * plan.trained_parameters + copies


def half_copy_bytes(plan: MemoryPlan) -> int:
    """Return the bytes of the half-precision copies of the weights that mixed precision makes."""
    return 2 * plan.parameters if plan.mixed_precision else 0


def activation_bytes(plan: MemoryPlan, examples: int, source_length: int, target_length: int) -> int:
    """Return the bytes that the forward pass keeps for the backward pass, and the work space of the loss.

    Args:
        examples: number of examples in the batch.
        source_length: tokens of each source, including padding.
        target_length: tokens of each target, including padding.
    """
    # Sizes: tokens of the batch, the model's dimension d, bytes of a number that matrix products read.
    config, half = plan.config, 2 if plan.mixed_precision else 4
    sources, targets, d = examples * source_length, examples * target_length, config.d_model

    # Parts of a layer, in bytes per token. Of a GELU without dropout only the input is kept, else the output too.
    only_input = config.activation_function == "gelu" and config.activation_dropout == 0 and not plan.adapters
    inner = 1 if only_input else 2
    feed_forward = half * d + (5 + 1) * d  # its input; the norm's input, the mask of dropout, and a byte to spare
    attention = half * 4 * d + (0 if plan.mixed_precision else 4 * d)

    # Layers, in bytes of the batch.
    encoder_layer = sources * (attention + half * d + 5 * d + feed_forward + inner * half * config.encoder_ffn_dim)
    decoder_layer = targets * (2 * attention + 10 * d + feed_forward + inner * half * config.decoder_ffn_dim)
    decoder_layer += sources * half * 3 * d  # keys and values of the source, and the input of their projections

    # All of the model.
    embeddings = (sources + targets) * 5 * d
    layers = config.encoder_layers * encoder_layer + config.decoder_layers * decoder_layer
    if plan.gradient_checkpointing:
        inputs = 4 * d * (config.encoder_layers * sources + config.decoder_layers * targets)
        layers = inputs + max(encoder_layer, decoder_layer)
    logits = min(targets * config.vocab_size, LOGITS_AT_ONCE) * (4 + 2 * half)
    return embeddings + layers + logits + targets * d * (4 + half)
