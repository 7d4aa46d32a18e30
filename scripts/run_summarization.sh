#!/usr/bin/env bash
# Fine-tunes BART, then evaluates the best model on the test split.
source "$(dirname -- "${BASH_SOURCE[0]}")/lib/strict.sh"
source "$root/scripts/lib/arguments.sh"
source "$root/scripts/lib/launch.sh"
source "$root/scripts/lib/jobs.sh"
source "$root/scripts/lib/results.sh"

argument DATA_DIR data/cnn_dm/ text --data_dir \
    "a folder of line files or of tables (train.csv ...), or a data set of the hub (OWNER/NAME)"
argument CONFIG_PATH configs/config.json text --config_path "configuration of the model and its search"
argument NUM_GPU 8 whole --gpus "GPUs of each machine; 0 trains on the CPU"
argument LR 1e-4 number --learning_rate "highest learning rate"
argument BS 24 count --train_batch_size
explain "BS, EVAL_BS" "batch sizes of training and validation, per GPU"
argument ACCUM 1 count --gradient_accumulation_steps "batches per optimizer step"
argument PREC fp16 precision "--fp16 --bf16 --tf32" "fp16, bf16, tf32 or fp32"
argument TRAIN_STEPS 20000 count --max_steps
break_usage
argument WARMUP_STEPS 500 whole --warmup_steps
explain "TRAIN_STEPS, WARMUP_STEPS" "optimizer steps at most; those at the beginning in which the learning rate rises"
argument MAX_SOURCE_LEN 1024 count --max_source_length
argument MAX_TARGET_LEN 142 count "--max_target_length --val_max_target_length --eval_max_gen_length"
explain "MAX_SOURCE_LEN, MAX_TARGET_LEN" "tokens read of a text; tokens of a summary at most"
argument EVAL_BEAMS 4 count
argument EVAL_BS 128 count --eval_batch_size
argument PRED_BS 64 count
explain "EVAL_BEAMS, PRED_BS" "beams and batch size of the evaluation at the end"
argument VAL_CHECK_INTERVAL 0.3 number --val_check_interval \
    "between validations: up to 1, the fraction of an epoch; above 1, training examples"
break_usage
argument PATIENCE 2 count --early_stopping_patience "validations without improvement after which the training ends"
explain "--flag ..." "further flags of finetune.py (python finetune.py --help lists them); they override the arguments"
variable RESULTS_DIR --output_dir

read_arguments "\
Presets: bash scripts/run_summarization.sh \$(source scripts/params/cnn_dm_params.sh && dgxa100_8gpu_fp16)
Paths are relative to the current folder; a preset's are relative to the checkout.
Results: \$RESULTS_DIR, by default a new folder results/bart_pyt_<timestamp>. To continue an interrupted training, set
RESULTS_DIR to its folder and add --resume.
To use several machines, run the same command on each, with NNODES (how many there are), NODE_RANK (the number of this
one, from 0 up), MASTER_ADDR (the name of machine 0), MASTER_PORT (29500 by default) and RESULTS_DIR (a folder that all
share) set. On the CPU (NUM_GPU 0), PROCESSES_PER_NODE (1 by default) says how many processes each machine starts.
MAX_RESTARTS (0 by default) says how often all processes start again, from the newest checkpoint, if one dies." "$@"
find_python
read_machines "$NUM_GPU"
leave_start_to_finetune "$NUM_GPU"

select_flags "$evaluation_flag_names" "${flags[@]}"
evaluation_flags=("${selected_flags[@]}")
evaluates=true # whether the test split is evaluated after the training, if there is one
averages=false # whether there may be an averaged model to evaluate
for index in "${!flags[@]}"; do
    flag=${flags[index]}
    case $flag in
        --average_checkpoints | --average_checkpoints=*)
            ((NNODES == 1)) || die "--average_checkpoints: machine 0 averages alone, and the others would not wait:" \
                "use one machine, or run finetune.py by torchrun"
            averages=true
            ;;
        --resume) evaluation_flags+=("$flag" --discard_other_journal) ;; # which is given for the training
        --n_test | --n_test=*)
            [[ $flag == --n_test=0 || "$flag ${flags[index + 1]:-}" == "--n_test 0" ]] ||
                die "--n_test: this script evaluates the whole test split after the training, or with 0 none of it:" \
                    "for a part of it, run run_eval_summarization.sh with --n_obs"
            evaluates=false
            ;;
        --data_dir* | --config_path* | --gpus* | --max_source_length* | --max_target_length* | --eval_max_gen_length* | \
            --max_length* | --fp16 | --bf16 | --tf32 | --no-fp16 | --no-bf16 | --no-tf32)
            die "${flag%%=*}: the evaluation needs it too: give it by position instead (see --help)"
            ;;
    esac
done
prepare_results_dir "results/bart_pyt_$(date +%Y%m%d_%H%M%S)" "${flags[@]}"

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

name_arguments
log_defaults
# --n_test 0: this script evaluates by itself below, with EVAL_BEAMS and PRED_BS. A fault of the test split is refused
# before the training all the same; if there is none, finetune.py says so.
run_into_results "$log_name" "$python" "${launcher[@]}" "$root/finetune.py" \
    --num_nodes "$NNODES" "${results_flags[@]}" "${program_flags[@]}" \
    --n_test 0 "${recipe[@]}" "${flags[@]}"
$writes_results && $evaluates || exit 0
((NNODES == 1)) || await_file "$results/best_tfmr/config.json"
! grep -qs '"no_test_split": true' -- "$results/run.json" || exit 0

evaluation=("$PRED_BS" "$NUM_GPU" "$PREC" "$EVAL_BEAMS" "$MAX_SOURCE_LEN" "$MAX_TARGET_LEN" "$DATA_DIR" "$CONFIG_PATH"
    "${evaluation_flags[@]}")
model=$results/best_tfmr
if $averages; then # the best one first, then the average if there is one
    RESULTS_DIR=$results run_and_forward_signals bash "$root/scripts/run_eval_summarization.sh" "$model" "${evaluation[@]}"
    model=$results/averaged_tfmr results=$results/averaged
    [[ -d $model ]] || exit 0
    log "the averaged model, into $results"
fi
RESULTS_DIR=$results exec bash "$root/scripts/run_eval_summarization.sh" "$model" "${evaluation[@]}"
