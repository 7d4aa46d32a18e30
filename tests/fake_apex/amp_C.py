"""Stands for apex's CUDA extension: it is there."""
