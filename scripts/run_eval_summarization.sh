#!/usr/bin/env bash
# Writes summaries of the test split with a fine-tuned model and scores them.
source "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

usage="usage: bash scripts/run_eval_summarization.sh [INIT_CKPT [PRED_BS [NUM_GPU [PRECISION [EVAL_BEAMS
           [MAX_SOURCE_LEN [MAX_TARGET_LEN [DATA_DIR [CONFIG_PATH]]]]]]]]] [--flag ...]
default:   data/nvidia-pretrained/model.ckpt 128 8 fp16 4 1024 142 data/cnn_dm/ configs/config.json

  INIT_CKPT   a .ckpt, a model.pt of fairseq, a Hugging Face folder or a hub id
  PRED_BS     batch size, per GPU
  NUM_GPU     0 runs on the CPU
  PRECISION   fp16, bf16, tf32 or fp32
  EVAL_BEAMS  beams of the search
  DATA_DIR    a folder of line files or of tables (test.csv ...), or a data set of the hub (OWNER/NAME)
  --flag ...  further flags of run_eval.py (python run_eval.py --help lists them); they come last, so they win
Presets: bash scripts/run_eval_summarization.sh <INIT_CKPT> \$(source scripts/params/xsum_params.sh && t4_1gpu_fp16_eval)
Paths are relative to the current folder, those of the presets to the checkout.
Results: \$RESULTS_DIR, by default a new folder results/bart_pyt_inference_<timestamp>.
Many machines share the work: as run_summarization.sh."

read_command_line "$usage" 9 "$@"
INIT_CKPT=${positionals[0]:-data/nvidia-pretrained/model.ckpt}
PRED_BS=${positionals[1]:-128}
NUM_GPU=${positionals[2]:-8}
PRECISION=${positionals[3]:-fp16}
EVAL_BEAMS=${positionals[4]:-4}
MAX_SOURCE_LEN=${positionals[5]:-1024}
MAX_TARGET_LEN=${positionals[6]:-142}
DATA_DIR=${positionals[7]:-data/cnn_dm/}
CONFIG_PATH=${positionals[8]:-configs/config.json}

check '0|[1-9][0-9]*' 'a whole number' NUM_GPU
check '[1-9][0-9]*' 'a whole number from 1 up' PRED_BS EVAL_BEAMS MAX_SOURCE_LEN MAX_TARGET_LEN
read_precision PRECISION "$PRECISION"
find_python
read_machines

device=cuda
if ((NUM_GPU == 0)); then
    device=cpu
elif ((NUM_GPU > 1)); then
    present=$("$python" -P -c 'import torch; print(torch.cuda.device_count())')
    ((NUM_GPU <= present)) || die "NUM_GPU is $NUM_GPU, and this machine has $present GPUs (0 runs on the CPU)"
fi

make_results "${RESULTS_DIR:-results/bart_pyt_inference_$(date +%Y%m%d_%H%M%S)}"
name_arguments bs=PRED_BS device=NUM_GPU {fp16,bf16,tf32}=PRECISION eval_beams=EVAL_BEAMS \
    max_source_length=MAX_SOURCE_LEN {max_target,eval_max_gen}_length=MAX_TARGET_LEN
say_defaults INIT_CKPT PRED_BS NUM_GPU PRECISION EVAL_BEAMS MAX_SOURCE_LEN MAX_TARGET_LEN DATA_DIR CONFIG_PATH
run_logged "$results/$log" "$python" "${launcher[@]}" "$root/run_eval.py" \
    "$INIT_CKPT" "$CONFIG_PATH" "$DATA_DIR" "$results" \
    --type_path test \
    --bs "$PRED_BS" \
    --device "$device" \
    "${precision_flags[@]}" \
    --eval_beams "$EVAL_BEAMS" \
    --max_source_length "$MAX_SOURCE_LEN" \
    --max_target_length "$MAX_TARGET_LEN" \
    --eval_max_gen_length "$MAX_TARGET_LEN" \
    "${flags[@]}"
