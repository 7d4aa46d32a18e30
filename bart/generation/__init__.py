"""Search over the decoder: logits processors, beams, greedy search and sampling."""
