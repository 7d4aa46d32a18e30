#!/usr/bin/env bash
# Pre-trains BART: it learns to restore documents out of corrupted ones.
source "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

usage="usage: bash scripts/run_pretraining.sh DATA_DIR CONFIG_PATH NUM_GPU LR BS ACCUM PREC TRAIN_STEPS WARMUP_STEPS
           MAX_SOURCE_LEN [EVAL_BS [VAL_CHECK_INTERVAL [PATIENCE]]] [--flag ...]

  DATA_DIR            folder of train.source and val.source: one paragraph a line, an empty line after each document
  CONFIG_PATH         configuration of the model
  NUM_GPU             0 trains on the CPU
  LR, BS, ACCUM       highest learning rate; batch size per GPU, in blocks; batches per optimizer step
  PREC                fp16, bf16, tf32 or fp32
  TRAIN_STEPS, WARMUP_STEPS   optimizer steps, and how many of them the learning rate rises
  MAX_SOURCE_LEN      tokens of a block: as many whole paragraphs of a document as fit
  EVAL_BS             batch size of validation (64)
  VAL_CHECK_INTERVAL  up to 1: a fraction of an epoch; above: training blocks between validations (0.25)
  PATIENCE            validations without improvement that end the training (10)
  --flag ...          further flags of finetune.py (python finetune.py --help lists them); they come last, so they win
It starts from random weights with the tokenizer of --tokenizer_name_or_path, or from --model_name_or_path.
Presets: bash scripts/run_pretraining.sh \$(source scripts/params/pretraining_params.sh && mini_cpu)
Paths are relative to the current folder, those of the presets to the checkout.
Results: \$RESULTS_DIR, by default a new folder results/bart_pyt_pretraining_<timestamp>. To continue a training that was
interrupted, set RESULTS_DIR to its folder and give --resume.
Many machines, and MAX_RESTARTS: as run_summarization.sh."

read_command_line "$usage" 13 "$@"
((${#positionals[@]} >= 10)) || die "${#positionals[@]} positional arguments, of at least 10 (see --help)"
DATA_DIR=${positionals[0]}
CONFIG_PATH=${positionals[1]}
NUM_GPU=${positionals[2]}
LR=${positionals[3]}
BS=${positionals[4]}
ACCUM=${positionals[5]}
PREC=${positionals[6]}
TRAIN_STEPS=${positionals[7]}
WARMUP_STEPS=${positionals[8]}
MAX_SOURCE_LEN=${positionals[9]}
EVAL_BS=${positionals[10]:-64}
VAL_CHECK_INTERVAL=${positionals[11]:-0.25}
PATIENCE=${positionals[12]:-10}

check '0|[1-9][0-9]*' 'a whole number' NUM_GPU WARMUP_STEPS
check '[1-9][0-9]*' 'a whole number from 1 up' BS ACCUM TRAIN_STEPS MAX_SOURCE_LEN EVAL_BS PATIENCE
check '[0-9.]+([eE][-+]?[0-9]+)?' 'a number' LR VAL_CHECK_INTERVAL
read_precision PREC "$PREC"
find_python
read_machines
leave_start_to_finetune
open_results "results/bart_pyt_pretraining_$(date +%Y%m%d_%H%M%S)"

# Of the paper (section 4), of fairseq's recipe for it, and of RoBERTa (Liu et al. 2019, table 9), which the paper follows.
recipe=(
    --task denoising
    --model_name_or_path scratch
    --no-freeze_embeds
    --mask_ratio 0.3
    --poisson_lambda 3.5
    --mask_random 0.1
    --permute_sentences
    --lr_scheduler polynomial
    --label_smoothing 0
    --weight_decay 0.01
    --adam_beta2 0.98
    --dropout 0.1
    --attention_dropout 0.1
    --gradient_clip_val 1.0
    --seed 42
    --n_test 0
)

collect_training_flags
run_logged "$results/$log" "$python" "${launcher[@]}" "$root/finetune.py" \
    "${recipe[@]}" \
    "${training_flags[@]}" \
    --max_target_length "$MAX_SOURCE_LEN" \
    "${flags[@]}"
