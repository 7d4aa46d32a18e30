"""A stand-in for NVIDIA's apex of May 2025, on the CPU: what this project calls of it, with the same signatures.

Written for tests, from what apex does, not from its text. It keeps apex's refusals, as they are what can go wrong.
"""
