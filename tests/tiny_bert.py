"""A random BERT or RoBERTa in transformers' form, for BERTScore."""

from pathlib import Path

import torch
from transformers import BertConfig, BertModel, BertTokenizerFast, RobertaConfig, RobertaModel

WORDS = ["the", "cat", "sat", "on", "mat", "a", "dog", "runs", "fast", "and", "one", "two", "three", "four", "five"]
LAYERS = 2
POSITIONS = 24


def write_tiny_bert(folder: Path, roberta: bool = False) -> Path:
    """Write a model and its tokenizer, which knows WORDS and nothing else."""
    kind, configuration = (RobertaModel, RobertaConfig) if roberta else (BertModel, BertConfig)
    folder.mkdir()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    (folder / "vocab.txt").write_text("\n".join([*special, *WORDS]))
    torch.manual_seed(0)
    config = configuration(
        vocab_size=len(special) + len(WORDS),
        hidden_size=16,
        num_hidden_layers=LAYERS,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=POSITIONS,
        initializer_range=0.5,
        pad_token_id=0,
    )
    kind(config).save_pretrained(folder)
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    return folder
