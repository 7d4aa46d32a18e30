"""BART (Lewis et al. 2019, https://arxiv.org/abs/1910.13461) from scratch: tokenizer, model, generation."""
