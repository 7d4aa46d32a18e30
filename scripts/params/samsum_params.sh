#!/usr/bin/env bash
# Presets for SAMSum, short chats and their summaries: put its train.json, val.json and test.json into data/samsum. Each
# function prints the positional arguments of scripts/run_summarization.sh; the one named with `_eval` prints those of
# scripts/run_eval_summarization.sh after INIT_CKPT. Paths are relative to the checkout.
#
# To compare with, bart-large on the test split: ROUGE-1/2/L 52.31 / 27.57 / 49.57 (repository of arXiv 2209.11910; its
# ROUGE-L is of another scorer, and higher than rouge-score's).

_train() { # NUM_GPU BS ACCUM PREC EVAL_BS PRED_BS
    echo data/samsum configs/config_dialogue.json "$1" 3e-5 "$2" "$3" "$4" 18400 500 1024 100 4 "$5" "$6" 1 3
}

_evaluate() { # NUM_GPU PREC PRED_BS
    echo "$3" "$1" "$2" 4 1024 100 data/samsum configs/config_dialogue.json
}

# 8 examples a step for 10 epochs (1,841 steps each), unless 3 validations bring no improvement, a learning rate of 3e-5
# after 500 steps, and the lengths and search: as in JiaQiSJTU/DialSent-PGG, experiment_scripts/finetune_samsum.sh. On a
# 24 GB card a batch of 8 takes 10 GB at most (see cnn_dm_params.sh).
dgxa100_1gpu_fp16()      { _train    1 8 1 fp16 128 128; }
dgxa100_1gpu_fp16_eval() { _evaluate 1     fp16     128; }

h200_1gpu_bf16()         { _train    1 8 1 bf16 128 128; }
h200_1gpu_bf16_eval()    { _evaluate 1     bf16     128; }

rtx4090_1gpu_bf16()      { _train    1 8 1 bf16  64  32; }
rtx4090_1gpu_bf16_eval() { _evaluate 1     bf16      32; }

t4_1gpu_fp16()           { _train    1 4 2 fp16  32  32; }
t4_1gpu_fp16_eval()      { _evaluate 1     fp16      32; }

# A small model without a GPU, to try the corpus: as the preset of the docstrings.
cpu() {
    echo data/samsum configs/config_mini.json 0 5e-4 32 1 fp32 450 45 256 64 4 64 64 0.5 2 \
        --model_name_or_path models/bart_mini --no-freeze_embeds
}
cpu_eval() { echo 64 0 fp32 4 256 64 data/samsum configs/config_mini.json; }
