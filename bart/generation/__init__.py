"""Search over the decoder: settings, logits rules, beams, greedy and sampling."""
