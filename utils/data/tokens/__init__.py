"""Turn texts into token ids once, and keep them."""
