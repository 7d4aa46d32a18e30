"""Atomic files, JSON, locks, and a cache of artifacts."""
