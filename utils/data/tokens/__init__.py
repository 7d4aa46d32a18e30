"""Texts as tokens, made once and kept."""
