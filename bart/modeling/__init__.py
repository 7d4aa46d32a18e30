"""The encoder-decoder; its building blocks are in ``layers``."""
