#!/usr/bin/env bash
# Measures evaluation: throughput by number of GPUs and precision, and latency by batch size.
source "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

usage="usage: bash scripts/run_inference_benchmark.sh [PRED_BS [EVAL_BEAMS [MAX_SOURCE_LEN [MAX_TARGET_LEN [MODEL [DATA_DIR
           [CONFIG_PATH]]]]]]] [--flag ...]
default:   128 4 1024 142 facebook/bart-large-cnn data/cnn_dm/ configs/config.json

  PRED_BS     batch size per GPU: the throughput is measured with it, the latency with the powers of two up to it
  EVAL_BEAMS  beams of the search
  MODEL       a .ckpt, a Hugging Face folder or a hub id
  --flag ...  further flags of run_eval.py, such as --n_obs 256 for a part of the test split
1 GPU, 2, 4 ... up to those there are, and fp16, bf16, tf32 and fp32 as far as the machine has them; without a GPU, the
CPU with bf16 and fp32. What it has not is skipped, with a line.
Results: inference_benchmark.log, a table, and inference_benchmark.json in \$RESULTS_DIR, by default a new folder
results/bart_pyt_inference_benchmark_<timestamp>."

read_command_line "$usage" 7 "$@"
PRED_BS=${positionals[0]:-128}
EVAL_BEAMS=${positionals[1]:-4}
MAX_SOURCE_LEN=${positionals[2]:-1024}
MAX_TARGET_LEN=${positionals[3]:-142}
MODEL=${positionals[4]:-facebook/bart-large-cnn}
DATA_DIR=${positionals[5]:-data/cnn_dm/}
CONFIG_PATH=${positionals[6]:-configs/config.json}
check '[1-9][0-9]*' 'a whole number from 1 up' PRED_BS EVAL_BEAMS MAX_SOURCE_LEN MAX_TARGET_LEN
for flag in "${flags[@]}"; do
    [[ $flag != --max_tokens_per_batch && $flag != --max_tokens_per_batch=* ]] ||
        die "--max_tokens_per_batch: the benchmark measures by batch size; leave it out"
done
find_python

make_results "${RESULTS_DIR:-results/bart_pyt_inference_benchmark_$(date +%Y%m%d_%H%M%S)}"

evaluate() { # NAME PRED_BS NUM_GPU PRECISION
    say "$1 ..."
    RESULTS_DIR=$results/$1 attend bash "$root/scripts/run_eval_summarization.sh" "$MODEL" "$2" "$3" "$4" "$EVAL_BEAMS" \
        "$MAX_SOURCE_LEN" "$MAX_TARGET_LEN" "$DATA_DIR" "$CONFIG_PATH" --warm_up "${flags[@]}" >"$results/$1.log" 2>&1 ||
        { tail -n 3 -- "$results/$1.log" >&2 && die "$1 failed; all it said is in $results/$1.log"; }
}

# A line for each number of GPUs and precision: to measure, or to skip and why.
plan=$("$python" -P -c 'from utils.runtime.hardware import precision_plan; print("\n".join(precision_plan()))')
best=""
while read -r action gpus precision reason; do
    if [[ $action == skip ]]; then
        echo "skipped: $precision, $reason" | tee -a -- "$results/skipped.txt"
        continue
    fi
    evaluate "throughput_${gpus}gpu_$precision" "$PRED_BS" "$gpus" "$precision"
    best=${best:-"$gpus $precision"} # the plan begins with the precision to choose
done <<<"$plan"

read -r gpus precision <<<"$best"
for ((batch_size = 1; batch_size < PRED_BS; batch_size *= 2)); do
    evaluate "latency_$batch_size" "$batch_size" "$gpus" "$precision"
done
evaluate "latency_$PRED_BS" "$PRED_BS" "$gpus" "$precision"

"$python" -P -m scripts.benchmark.inference_table "$results" | tee -- "$results/inference_benchmark.log"
