"""Configuration of a BART model and of its search."""
