"""What a search returns when it is asked for more than the tokens."""

from dataclasses import dataclass

from torch import Tensor


@dataclass
class GenerationOutput:
    """Shapes: N returned sequences, L the longest of them, R searched rows (sentences times beams), V vocabulary."""

    sequences: Tensor  # (N, L) token ids, padded on the right
    sequences_scores: Tensor | None = None  # (N,) length-penalized log probabilities, of beam search with output_scores
    scores: tuple[Tensor, ...] | None = None  # a (R, V) for every step, after the processors; with output_scores
    logits: tuple[Tensor, ...] | None = None  # a (R, V) for every step, as the model gives them; with output_logits
    beam_indices: Tensor | None = (
        None  # (N, L - 1) the row that each token's scores stand in, -1 past the end; of beams
    )
