#!/usr/bin/env bash
# Measures evaluation: throughput by number of GPUs and precision, and latency by batch size.
source "$(dirname -- "${BASH_SOURCE[0]}")/lib/strict.sh"
source "$root/scripts/lib/arguments.sh"
source "$root/scripts/lib/launch.sh"
source "$root/scripts/lib/jobs.sh"
source "$root/scripts/lib/results.sh"

argument PRED_BS 128 count "" "batch size per GPU for the throughput; the latency is measured at 1, 2, 4 ... up to it"
argument EVAL_BEAMS 4 count "" "beams of the search"
argument MAX_SOURCE_LEN 1024 count
argument MAX_TARGET_LEN 142 count
explain "MAX_SOURCE_LEN, MAX_TARGET_LEN" "tokens read of a text; tokens of a summary at most"
argument MODEL facebook/bart-large-cnn text "" "a .ckpt, a Hugging Face folder or a hub id"
argument DATA_DIR data/cnn_dm/ text "" "a folder of line files or of tables, or a data set of the hub (OWNER/NAME)"
break_usage
argument CONFIG_PATH configs/config.json text "" "configuration with the search settings"
explain "--flag ..." "further flags of run_eval.py, such as --n_obs 256 for a part of the test split"

read_arguments "\
Measures on 1, 2, 4 ... GPUs in fp16, bf16, tf32 and fp32; without a GPU, on the CPU in bf16 and fp32. Skips a precision
that the machine lacks, and says so.
Results: inference_benchmark.log (a table) and inference_benchmark.json in \$RESULTS_DIR, by default a new folder
results/bart_pyt_inference_benchmark_<timestamp>." "$@"
for flag in "${flags[@]}"; do
    [[ $flag != --max_tokens_per_batch && $flag != --max_tokens_per_batch=* ]] ||
        die "--max_tokens_per_batch: the benchmark measures by batch size: remove this flag"
done
find_python

make_results_dir "${RESULTS_DIR:-results/bart_pyt_inference_benchmark_$(date +%Y%m%d_%H%M%S)}"

evaluate() { # NAME PRED_BS NUM_GPU PRECISION
    log "$1 ..."
    RESULTS_DIR=$results/$1 run_and_forward_signals bash "$root/scripts/run_eval_summarization.sh" \
        "$MODEL" "$2" "$3" "$4" "$EVAL_BEAMS" "$MAX_SOURCE_LEN" "$MAX_TARGET_LEN" "$DATA_DIR" "$CONFIG_PATH" \
        --warm_up "${flags[@]}" >"$results/$1.log" 2>&1 ||
        { tail -n 3 -- "$results/$1.log" >&2 && die "$1 failed: see its output in $results/$1.log"; }
}

# A line for each number of GPUs and precision: whether to measure it, or why to skip it.
plan=$("$python" -P -c 'from utils.runtime.hardware import precision_plan; print("\n".join(precision_plan()))')
best=""
while read -r action gpus precision reason; do
    if [[ $action == skip ]]; then
        echo "skipped: $precision, $reason" | tee -a -- "$results/skipped.txt"
        continue
    fi
    evaluate "throughput_${gpus}gpu_$precision" "$PRED_BS" "$gpus" "$precision"
    best=${best:-"$gpus $precision"} # the plan begins with the fastest precision
done <<<"$plan"

read -r gpus precision <<<"$best"
for ((batch_size = 1; batch_size < PRED_BS; batch_size *= 2)); do
    evaluate "latency_$batch_size" "$batch_size" "$gpus" "$precision"
done
evaluate "latency_$PRED_BS" "$PRED_BS" "$gpus" "$precision"

"$python" -P -m scripts.benchmark.inference_table "$results" | tee -- "$results/inference_benchmark.log"
