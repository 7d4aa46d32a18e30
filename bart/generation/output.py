"""The result of a search with ``return_dict_in_generate``: the tokens, and what led to them."""

from dataclasses import dataclass

from torch import Tensor


@dataclass
class GenerationOutput:
    """Token ids, and as far as they were asked for, scores, logits and the history of the beams.

    Shapes: N returned sequences, L the longest of them, R searched rows (sentences times beams), V vocabulary.
    """

    sequences: Tensor  # (N, L) token ids, padded on the right
    sequences_scores: Tensor | None = None  # (N,) length-penalized log probabilities, of beam search with output_scores
    scores: tuple[Tensor, ...] | None = None  # one (R, V) per step, after the processors; with output_scores
    logits: tuple[Tensor, ...] | None = None  # one (R, V) per step, before the processors; with output_logits
    # (N, L - P) the row of the scores of each token after the P of the beginning, -1 past the end; of beam search
    beam_indices: Tensor | None = None
