#!/usr/bin/env bash
# Presets of scripts/run_pretraining.sh: each prints its positional arguments and flags. Paths are relative to the
# checkout.

# The paper's figures (section 4): batches of 8,000 texts for 500,000 steps, with RoBERTa's learning rate and warm-up (Liu
# et al. 2019, table 9). GPUs of 80 GB hold 40 texts each, so a step is 8 x 40 x 25.
bart_large_8gpu_bf16() {
    echo data/pretraining configs/config.json 8 4e-4 40 25 bf16 500000 30000 512 128 0.05 20 \
        --tokenizer_name_or_path facebook/bart-large
}

# The paper's comparison of base models (section 3): 1,000,000 steps, here of 256 texts.
bart_base_8gpu_bf16() {
    echo data/pretraining configs/config_base.json 8 6e-4 32 1 bf16 1000000 24000 512 128 0.05 20 \
        --tokenizer_name_or_path facebook/bart-base
}

# models/bart_mini, in three stages: first on short pieces of text, on which a model learns soonest to copy; then on whole
# paragraphs, and on these once more with other noise. It sees no pair of a text and its summary. Each stage reads the one
# before: set RESULTS_DIR to results/mini_short for the first and to results/mini for the second.
mini_short_cpu() { _mini_short 0; }

mini_cpu() { _mini 0 11000 200 results/mini_short/best_tfmr 42; }

mini_again_cpu() { _mini 0 8300 300 results/mini/best_tfmr 43; }

mini_short_1gpu() {
    _mini_short 1
    echo --num_workers 8
}

mini_1gpu() {
    _mini 1 44000 400 results/mini_short/best_tfmr 42
    echo --num_workers 8
}

_mini_short() { # NUM_GPU
    echo data/prose configs/config_mini.json "$1" 1e-3 64 1 bf16 2000 100 32 128 1e9 10 \
        --tokenizer_name_or_path data/prose/tokenizer --lr_scheduler constant --dropout 0 --attention_dropout 0 \
        --n_val 1000 --log_every_n_steps 50
}

_mini() { # NUM_GPU TRAIN_STEPS WARMUP_STEPS MODEL SEED
    echo data/prose configs/config_mini.json "$1" 1e-3 512 1 bf16 "$2" "$3" 128 64 1e5 20 \
        --model_name_or_path "$4" --seed "$5" --max_tokens_per_batch 6144 \
        --dropout 0 --attention_dropout 0 --n_val 1000 --log_every_n_steps 50
}
