"""The sizes of models that the measurements know by name."""

SHAPES = {
    "base": {"d_model": 768, "layers": 6, "heads": 12, "ffn": 3072},
    "large": {"d_model": 1024, "layers": 12, "heads": 16, "ffn": 4096},
    "tiny": {"d_model": 64, "layers": 2, "heads": 4, "ffn": 128},
    "small": {"d_model": 128, "layers": 2, "heads": 2, "ffn": 256},  # heads as large as BART's
}
