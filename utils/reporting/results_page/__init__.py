"""Writes results.html: the results of a run in one file that needs no network."""
