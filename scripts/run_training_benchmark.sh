#!/usr/bin/env bash
# Measures training: throughput and weak scaling by number of GPUs and precision.
source "$(dirname -- "${BASH_SOURCE[0]}")/lib/strict.sh"
source "$root/scripts/lib/arguments.sh"
source "$root/scripts/lib/launch.sh"
source "$root/scripts/lib/jobs.sh"
source "$root/scripts/lib/results.sh"

argument BS 40 count --train_batch_size "examples per GPU in one forward pass"
argument MAX_SOURCE_LEN 1024 count --max_source_length
argument MAX_TARGET_LEN 60 count --max_target_length
explain "MAX_SOURCE_LEN, MAX_TARGET_LEN" "tokens read of a text; tokens of a target"
argument DATA_DIR data/xsum/ text --data_dir "folder with the train and val splits"
explain "--flag ..." "further flags of finetune.py, such as --max_steps 100 to train less than one epoch"

read_arguments "\
Variables: MODEL, a .ckpt, a Hugging Face folder, a hub id or scratch, which is random weights and the default; CONFIG,
by default configs/config_xsum.json; TOKENIZER if MODEL is scratch, by default facebook/bart-large.
Measures on 1, 2, 4 ... GPUs in fp16, bf16, tf32 and fp32; without a GPU, on the CPU in bf16 and fp32. Skips a precision
that the machine lacks, and says so.
Results: training_benchmark.log (a table) and training_benchmark.json in \$RESULTS_DIR, by default a new folder
results/bart_pyt_training_benchmark_<timestamp>. The trained weights are deleted." "$@"
MODEL=${MODEL:-scratch}
CONFIG=${CONFIG:-$root/configs/config_xsum.json}
find_python

make_results_dir "${RESULTS_DIR:-results/bart_pyt_training_benchmark_$(date +%Y%m%d_%H%M%S)}"
model_flags=(--model_name_or_path "$MODEL" --config_path "$CONFIG")
if [[ $MODEL == scratch ]]; then
    model_flags+=(--tokenizer_name_or_path "${TOKENIZER:-facebook/bart-large}" --no-freeze_embeds)
fi

train() { # NAME NUM_GPU PRECISION
    log "$1 ..."
    set_precision_flags "$3"
    # Trains one epoch, however many steps that is, with next to no validation, which is not timed. A checkpoint is
    # saved only after the validation and every half hour.
    run_and_forward_signals "$python" "$root/finetune.py" --output_dir "$results/$1" --overwrite_output_dir \
        "${model_flags[@]}" --gpus "$2" "${precision_flags[@]}" "${program_flags[@]}" \
        --max_epochs 1 --max_steps 1000000000 --warmup_steps 0 --val_check_interval 1 --n_val 16 --n_test 0 \
        --save_checkpoint_steps 1000000 "${flags[@]}" \
        >"$results/$1.log" 2>&1 ||
        { tail -n 3 -- "$results/$1.log" >&2 && die "$1 failed: see its output in $results/$1.log"; }
    rm -rf -- "$results/$1"/*.ckpt "$results/$1/best_tfmr"
}

# A line for each number of GPUs and precision: whether to measure it, or why to skip it.
plan=$("$python" -P -c 'from utils.runtime.hardware import precision_plan; print("\n".join(precision_plan()))')
while read -r action gpus precision reason; do
    if [[ $action == skip ]]; then
        echo "skipped: $precision, $reason" | tee -a -- "$results/skipped.txt"
    else
        train "training_${gpus}gpu_$precision" "$gpus" "$precision"
    fi
done <<<"$plan"

"$python" -P -m scripts.benchmark.training_table "$results" | tee -- "$results/training_benchmark.log"
