"""Weights and configurations in files: Hugging Face folders, this project's checkpoints, fairseq's."""
