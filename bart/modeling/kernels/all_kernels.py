"""All kernels, as ``available.triton_kernels`` returns them. Importing this module imports Triton."""

from bart.modeling.kernels.add_norm import add_norm
from bart.modeling.kernels.beam_step import BeamRules, BeamTensors, can_extend, extend_beams
from bart.modeling.kernels.bias_gelu import bias_gelu, bias_gelu_backward
from bart.modeling.kernels.cross_entropy import cross_entropy
from bart.modeling.kernels.decode_attention import decode_attention, suits_decode_attention
from bart.modeling.kernels.join_gradients import join_gradients
from bart.modeling.kernels.token_scores import (
    allow_only,
    ban_repeated_ngrams,
    best_continuations,
    can_choose,
    normalizers,
)
from bart.modeling.kernels.trial import add_one

__all__ = [
    "BeamRules",
    "BeamTensors",
    "add_norm",
    "add_one",
    "allow_only",
    "ban_repeated_ngrams",
    "best_continuations",
    "bias_gelu",
    "bias_gelu_backward",
    "can_choose",
    "can_extend",
    "cross_entropy",
    "decode_attention",
    "extend_beams",
    "join_gradients",
    "normalizers",
    "suits_decode_attention",
]
