#!/usr/bin/env bash
# Preset for the embedded default, docstrings to their summary lines, on the CPU. `cpu` prints the positional arguments of
# scripts/run_summarization.sh and flags for finetune.py, `cpu_eval` the positional arguments of
# scripts/run_eval_summarization.sh after INIT_CKPT. Paths are relative to the checkout.

# Random weights: there is no pretrained tokenizer either, and random embeddings must be trained. 700 steps see every
# example once or twice, so nothing is learnt by heart that dropout would have to hinder.
cpu() {
    echo data/docstrings configs/config_tiny.json 0 2e-3 32 1 fp32 700 70 48 32 4 64 64 0.5 2 \
        --model_name_or_path scratch --tokenizer_name_or_path data/docstrings/tokenizer --no-freeze_embeds \
        --dropout 0 --attention_dropout 0
}

cpu_eval() { echo 64 0 fp32 4 48 32 data/docstrings configs/config_tiny.json; }
