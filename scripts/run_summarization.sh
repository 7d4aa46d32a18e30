#!/usr/bin/env bash
# Fine-tunes BART, then evaluates the best model on the test split.
source "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

usage="usage: bash scripts/run_summarization.sh [DATA_DIR [CONFIG_PATH [NUM_GPU [LR [BS [ACCUM [PREC [TRAIN_STEPS
           [WARMUP_STEPS [MAX_SOURCE_LEN [MAX_TARGET_LEN [EVAL_BEAMS [EVAL_BS [PRED_BS [VAL_CHECK_INTERVAL
           [PATIENCE]]]]]]]]]]]]]]]] [--flag ...]
default:   data/cnn_dm/ configs/config.json 8 1e-4 24 1 fp16 20000 500 1024 142 4 128 64 0.3 2

  NUM_GPU             0 trains on the CPU
  DATA_DIR            a folder of line files or of tables (train.csv ...), or a data set of the hub (OWNER/NAME)
  BS, EVAL_BS         batch sizes of training and validation, per GPU
  ACCUM               batches per optimizer step
  PREC                fp16, bf16, tf32 or fp32
  EVAL_BEAMS, PRED_BS beams and batch size of the evaluation at the end
  VAL_CHECK_INTERVAL  up to 1: a fraction of an epoch; above: training examples between validations
  PATIENCE            validations without improvement that end the training
  --flag ...          further flags of finetune.py (python finetune.py --help lists them); they come last, so they win
Presets: bash scripts/run_summarization.sh \$(source scripts/params/cnn_dm_params.sh && dgxa100_8gpu_fp16)
Paths are relative to the current folder, those of the presets to the checkout.
Results: \$RESULTS_DIR, by default a new folder results/bart_pyt_<timestamp>. To continue a training that was
interrupted, set RESULTS_DIR to its folder and give --resume.
Many machines: run the same command on each, with NNODES (how many), NODE_RANK (0 on the first), MASTER_ADDR (the
name of that one), MASTER_PORT (29500) and RESULTS_DIR (a folder that they share) set. NUM_GPU is then per machine; with
NUM_GPU 0, PROCESSES_PER_NODE (1) is.
MAX_RESTARTS (0): how often the processes are started again when one dies; they go on from the newest checkpoint."

read_command_line "$usage" 16 "$@"
DATA_DIR=${positionals[0]:-data/cnn_dm/}
CONFIG_PATH=${positionals[1]:-configs/config.json}
NUM_GPU=${positionals[2]:-8}
LR=${positionals[3]:-1e-4}
BS=${positionals[4]:-24}
ACCUM=${positionals[5]:-1}
PREC=${positionals[6]:-fp16}
TRAIN_STEPS=${positionals[7]:-20000}
WARMUP_STEPS=${positionals[8]:-500}
MAX_SOURCE_LEN=${positionals[9]:-1024}
MAX_TARGET_LEN=${positionals[10]:-142}
EVAL_BEAMS=${positionals[11]:-4}
EVAL_BS=${positionals[12]:-128}
PRED_BS=${positionals[13]:-64}
VAL_CHECK_INTERVAL=${positionals[14]:-0.3}
PATIENCE=${positionals[15]:-2}

check '0|[1-9][0-9]*' 'a whole number' NUM_GPU WARMUP_STEPS
check '[1-9][0-9]*' 'a whole number from 1 up' \
    BS ACCUM TRAIN_STEPS MAX_SOURCE_LEN MAX_TARGET_LEN EVAL_BEAMS EVAL_BS PRED_BS PATIENCE
check '[0-9.]+([eE][-+]?[0-9]+)?' 'a number' LR VAL_CHECK_INTERVAL
read_precision PREC "$PREC"
find_python
read_machines
leave_start_to_finetune

only_report=false
evaluation_flags=() # what the evaluation must have too, and has no position
for index in "${!flags[@]}"; do
    flag=${flags[index]}
    case $flag in
        --text_column | --summary_column | --long_documents | --rouge_sentence_splitter)
            evaluation_flags+=("${flags[@]:index:2}")
            ;;
        --text_column=* | --summary_column=* | --long_documents=* | --rouge_sentence_splitter=*)
            evaluation_flags+=("$flag")
            ;;
        --data_report | --dry_run) only_report=true ;;
        --n_test | --n_test=*)
            die "--n_test: the script evaluates all of the test split after the training; for a part of it, run" \
                "run_eval_summarization.sh with --n_obs"
            ;;
        --data_dir* | --config_path* | --gpus* | --max_source_length* | --max_target_length* | --eval_max_gen_length* | \
            --max_length* | --fp16 | --bf16 | --tf32 | --no-fp16 | --no-bf16 | --no-tf32)
            die "${flag%%=*}: the evaluation must have it too, so give it by position (see --help)"
            ;;
    esac
done
open_results "results/bart_pyt_$(date +%Y%m%d_%H%M%S)"

# What the reference recipe fixes beyond its positional arguments.
recipe=(
    --sortish_sampler
    --lr_scheduler polynomial
    --label_smoothing 0.1
    --weight_decay 0.1
    --dropout 0.1
    --attention_dropout 0.1
    --gradient_clip_val 0.1
    --freeze_embeds
    --seed 42
    --min_epochs 0
    --num_sanity_val_steps 0
    --n_val -1
    --amp_level O1
)

# --n_test 0: the evaluation below is this script's own, with EVAL_BEAMS and PRED_BS. --needs_test: training does not need
# the test split, and would end before its lack was noticed.
collect_training_flags
say_defaults DATA_DIR CONFIG_PATH NUM_GPU LR BS ACCUM PREC TRAIN_STEPS WARMUP_STEPS MAX_SOURCE_LEN MAX_TARGET_LEN \
    EVAL_BEAMS EVAL_BS PRED_BS VAL_CHECK_INTERVAL PATIENCE
run_logged "$results/$log" "$python" "${launcher[@]}" "$root/finetune.py" \
    "${training_flags[@]}" \
    --max_target_length "$MAX_TARGET_LEN" \
    --val_max_target_length "$MAX_TARGET_LEN" \
    --eval_max_gen_length "$MAX_TARGET_LEN" \
    --n_test 0 \
    --needs_test \
    "${recipe[@]}" \
    "${flags[@]}"
! $only_report || exit 0
((NNODES == 1)) || await_file "$results/best_tfmr/config.json"

RESULTS_DIR=$results exec bash "$root/scripts/run_eval_summarization.sh" "$results/best_tfmr" \
    "$PRED_BS" "$NUM_GPU" "$PREC" "$EVAL_BEAMS" "$MAX_SOURCE_LEN" "$MAX_TARGET_LEN" "$DATA_DIR" "$CONFIG_PATH" \
    "${evaluation_flags[@]}"
