"""Checkpoints, results folders, resuming, and loading and exporting models."""
