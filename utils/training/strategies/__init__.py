"""Strategies: how several processes train one model."""
