"""Checkpoints, runs that go on, and models that exist."""
