"""The encoder-decoder, its decoder cache, and reading and writing its weights."""
