"""Presents results to people: the results page and the model card."""
