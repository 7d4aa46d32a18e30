"""Summaries, and their scores."""
