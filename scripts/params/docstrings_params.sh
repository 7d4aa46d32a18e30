#!/usr/bin/env bash
# Presets for the docstring corpus (a docstring's body to its summary line), on the CPU. `cpu` and `cpu_from_scratch`
# print the positional arguments of scripts/run_summarization.sh and flags for finetune.py; `cpu_eval` prints those of
# scripts/run_eval_summarization.sh after INIT_CKPT. Paths are relative to the checkout.

cpu() { _docstrings 5e-4 --model_name_or_path models/bart_mini; }

# The same model from random weights, which need a higher learning rate.
cpu_from_scratch() {
    _docstrings 2e-3 --model_name_or_path scratch --tokenizer_name_or_path models/bart_mini
}

cpu_eval() { echo 64 0 fp32 4 128 32 data/docstrings configs/config_mini.json; }

# Trains the embeddings too; the reference recipe freezes those of its large model.
_docstrings() { # LR --flag ...
    echo data/docstrings configs/config_mini.json 0 "$1" 32 1 fp32 600 60 128 32 4 64 64 0.5 2 "${@:2}" \
        --no-freeze_embeds
}
