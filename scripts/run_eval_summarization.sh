#!/usr/bin/env bash
# Writes summaries of the test split with a fine-tuned model and scores them.
source "$(dirname -- "${BASH_SOURCE[0]}")/lib/strict.sh"
source "$root/scripts/lib/arguments.sh"
source "$root/scripts/lib/launch.sh"
source "$root/scripts/lib/jobs.sh"
source "$root/scripts/lib/results.sh"

argument INIT_CKPT data/nvidia-pretrained/model.ckpt text "" \
    "a .ckpt, a model.pt of fairseq, a Hugging Face folder or a hub id"
argument PRED_BS 128 count --bs "batch size per GPU"
argument NUM_GPU 8 device --device "GPUs of each machine; 0 runs on the CPU"
argument PRECISION fp16 precision "--fp16 --bf16 --tf32" "fp16, bf16, tf32 or fp32"
argument EVAL_BEAMS 4 count --eval_beams "beams of the search"
break_usage
argument MAX_SOURCE_LEN 1024 count --max_source_length
argument MAX_TARGET_LEN 142 count "--max_target_length --eval_max_gen_length"
explain "MAX_SOURCE_LEN, MAX_TARGET_LEN" "tokens read of a text; tokens of a summary at most"
argument DATA_DIR data/cnn_dm/ text "" \
    "a folder of line files or of tables (test.csv ...), or a data set of the hub (OWNER/NAME)"
argument CONFIG_PATH configs/config.json text "" "configuration with the search settings"
explain "--flag ..." "further flags of run_eval.py (python run_eval.py --help lists them); they override the arguments"

read_arguments "\
Presets: bash scripts/run_eval_summarization.sh <INIT_CKPT> \$(source scripts/params/xsum_params.sh && t4_1gpu_fp16_eval)
Paths are relative to the current folder; a preset's are relative to the checkout.
Results: \$RESULTS_DIR, by default a new folder results/bart_pyt_inference_<timestamp>. To continue an interrupted
evaluation, set RESULTS_DIR to its folder and add --resume.
To use several machines, see run_summarization.sh --help." "$@"
find_python
read_machines "$NUM_GPU"

resumes=false
for flag in "${flags[@]}"; do
    [[ $flag == --resume ]] || continue
    [[ -n ${RESULTS_DIR:-} ]] || die "--resume: set RESULTS_DIR to the results folder of the evaluation to continue"
    resumes=true
done
# Restarted processes get the flags of the first start.
((MAX_RESTARTS == 0)) || $resumes || flags+=(--resume --discard_other_journal)
if ((NUM_GPU > 1)); then
    present=$("$python" -P -c 'import torch; print(torch.cuda.device_count())')
    ((NUM_GPU <= present)) || die "NUM_GPU is $NUM_GPU, but this machine has $present GPUs (0 runs on the CPU)"
fi

make_results_dir "${RESULTS_DIR:-results/bart_pyt_inference_$(date +%Y%m%d_%H%M%S)}"
name_arguments
log_defaults
run_into_results "$log_name" "$python" "${launcher[@]}" "$root/run_eval.py" \
    "$INIT_CKPT" "$CONFIG_PATH" "$DATA_DIR" "$results" \
    --type_path test "${program_flags[@]}" "${flags[@]}"
