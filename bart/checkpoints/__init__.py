"""Weights and configurations in files: Hugging Face folders, checkpoints of this project and of fairseq."""
