"""The encoder-decoder, and its decoder cache."""
