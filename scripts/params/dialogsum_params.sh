#!/usr/bin/env bash
# Presets for DialogSum, spoken dialogues and their summaries: put its tables into data/dialogsum as train, val and test
# (.csv or .jsonl). Each function prints the positional arguments of scripts/run_summarization.sh; the one named with
# `_eval` prints those of scripts/run_eval_summarization.sh after INIT_CKPT. Paths are relative to the checkout. The JSON
# Lines of github.com/cylnlp/dialogsum have three summaries of each test dialogue, of which the first is taken; for the
# second give run_eval_summarization.sh --text_column dialogue --summary_column summary2.
#
# To compare with, bart-large on the test split, ROUGE-1/2/L:
#   45.95 / 21.36 / 38.72  against summary1, by rouge-score (github.com/cylnlp/dialogsum, Baseline/README.md)
#   47.36 / 21.23 / 44.88  (repository of arXiv 2209.11910; its ROUGE-L is of another scorer, and higher)

_train() { # NUM_GPU BS ACCUM PREC EVAL_BS PRED_BS
    echo data/dialogsum configs/config_dialogue.json "$1" 3e-5 "$2" "$3" "$4" 1950 100 512 128 5 "$5" "$6" 1 3
}

_evaluate() { # NUM_GPU PREC PRED_BS
    echo "$3" "$1" "$2" 5 512 128 data/dialogsum configs/config_dialogue.json
}

# 32 examples a step for 5 epochs (390 steps each), a learning rate of 3e-5, targets of 128 tokens and 5 beams: as in
# Baseline/bart_train.py of that repository, which reads 256 tokens of a text and has no warm-up.
dgxa100_1gpu_fp16()      { _train    1 32 1 fp16 128 128; }
dgxa100_1gpu_fp16_eval() { _evaluate 1      fp16     128; }

h200_1gpu_bf16()         { _train    1 32 1 bf16 128 128; }
h200_1gpu_bf16_eval()    { _evaluate 1      bf16     128; }

rtx4090_1gpu_bf16()      { _train    1 16 2 bf16  64  32; }
rtx4090_1gpu_bf16_eval() { _evaluate 1      bf16      32; }

t4_1gpu_fp16()           { _train    1  8 4 fp16  32  32; }
t4_1gpu_fp16_eval()      { _evaluate 1      fp16      32; }

# A small model without a GPU, to try the corpus: as the preset of the docstrings.
cpu() {
    echo data/dialogsum configs/config_mini.json 0 5e-4 32 1 fp32 450 45 256 64 4 64 64 0.5 2 \
        --model_name_or_path models/bart_mini --no-freeze_embeds
}
cpu_eval() { echo 64 0 fp32 4 256 64 data/dialogsum configs/config_mini.json; }
