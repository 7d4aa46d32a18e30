#!/usr/bin/env bash
# Presets of scripts/run_pretraining.sh: each prints its positional arguments and flags. Paths are relative to the
# checkout.

# The paper's figures (section 4): batches of 8,000 texts for 500,000 steps; RoBERTa's learning rates. 8 GPUs of 80 GB hold
# 40 texts each, so a step is 8 x 40 x 25.
bart_large_8gpu_bf16() {
    echo data/pretraining configs/config.json 8 4e-4 40 25 bf16 500000 30000 512 128 0.05 20 \
        --tokenizer_name_or_path facebook/bart-large
}

# 1,000,000 steps of 256 texts, as the paper's comparison of base models (section 3): for those who repeat it.
bart_base_8gpu_bf16() {
    echo data/pretraining configs/config_base.json 8 6e-4 32 1 bf16 1000000 24000 512 128 0.05 20 \
        --tokenizer_name_or_path facebook/bart-base
}
