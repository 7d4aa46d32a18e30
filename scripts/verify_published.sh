#!/usr/bin/env bash
# Evaluates a published BART on its test set and compares its scores with the published ones.
source "$(dirname -- "${BASH_SOURCE[0]}")/lib/strict.sh"
source "$root/scripts/lib/arguments.sh"
source "$root/scripts/lib/launch.sh"
source "$root/scripts/lib/jobs.sh"
source "$root/scripts/lib/results.sh"

usage="usage: bash scripts/verify_published.sh [cnn|xsum [NUM_GPU [PRED_BS [PRECISION]]]] [--compare N] [--n_obs N]
           [--published FILE] [--tolerance X] [--model MODEL] [--expected_counts TRAIN,VAL,TEST] [--flag ...]
default:   cnn, all GPUs of this machine, 32, fp16 on a GPU and fp32 on the CPU

  cnn, xsum    facebook/bart-large-cnn on CNN-DM, or facebook/bart-large-xsum on XSum
  NUM_GPU      0 runs on the CPU
  PRED_BS      batch size per GPU
  PRECISION    fp16, bf16, tf32 or fp32
  --compare    first compare the summaries of N texts with those of transformers, token for token (default: 20; 0: none)
  --n_obs      evaluate only N examples: a quick look, without a verdict
  --published  JSON file with other published scores (default: those of the paper and of others, which
               utils/reporting/published_evaluations.py lists)
  --tolerance  how far ROUGE may lie outside the published range (default: 0.2)
  --model      another model
  --expected_counts   examples of each split, for another copy of the corpus
  --flag ...   further flags of run_eval.py
Downloads the corpus once into \$BART_DATA (by default the checkout's data/), and the model into the hub's cache.
Results: \$RESULTS_DIR, by default results/verify_<corpus>_<timestamp>. The exit code is 1 if tokens differ (the
evaluation is then left out) or if ROUGE is outside the range."

read_command_line "$usage" 4 "$@"
CORPUS=${positionals[0]:-cnn}
NUM_GPU=${positionals[1]:-}
PRED_BS=${positionals[2]:-32}
find_python
case $CORPUS in
    cnn)
        folder=cnn_dm
        config=$root/configs/config.json
        limits=(4 1024 142) # beams, tokens of a source and of a summary
        examples=11490
        ;;
    xsum)
        folder=xsum
        config=$root/configs/config_xsum.json
        limits=(6 1024 62)
        examples=11334
        ;;
    *) die "unknown corpus '$CORPUS': give cnn or xsum" ;;
esac
model=facebook/bart-large-$CORPUS
NUM_GPU=${NUM_GPU:-$("$python" -P -c 'import torch; print(torch.cuda.device_count())')}
check_value NUM_GPU "$NUM_GPU" whole
check_value PRED_BS "$PRED_BS" count
precision=${positionals[3]:-$( ((NUM_GPU > 0)) && echo fp16 || echo fp32)}
check_value PRECISION "$precision" precision # before anything is downloaded

verify_flags=()
corpus_flags=()
evaluation_flags=()
compared=20
while ((${#flags[@]} > 0)); do
    flag=${flags[0]}
    case $flag in
        --compare=* | --published=* | --tolerance=* | --model=* | --expected_counts=*)
            flags=("${flag%%=*}" "${flag#*=}" "${flags[@]:1}")
            ;;
        --compare | --published | --tolerance | --model | --expected_counts)
            value=${flags[1]:-}
            [[ -n $value ]] || die "$flag: its value is missing (see --help)"
            case $flag in
                --compare) compared=$value ;;
                --model) model=$value ;;
                --expected_counts)
                    corpus_flags+=("$flag" "$value")
                    examples=${value##*,}
                    ;;
                *) verify_flags+=("$flag" "$value") ;;
            esac
            flags=("${flags[@]:2}")
            ;;
        --rerank | --rerank=*) die "$flag: the published scores are those of a beam search alone; leave it out" ;;
        --rouge_tokenizer | --rouge_tokenizer=*) die "$flag: the published scores are by words of ASCII; leave it out" ;;
        *)
            evaluation_flags+=("$flag")
            flags=("${flags[@]:1}")
            ;;
    esac
done
check_value --compare "$compared" whole

name_results_dir "${RESULTS_DIR:-results/verify_${CORPUS}_$(date +%Y%m%d_%H%M%S)}"
data=${BART_DATA:-$root/data}
run_and_forward_signals bash "$root/scripts/get_data.sh" "$data" "$folder" "${corpus_flags[@]}"
if ((compared > 0)); then
    device=cuda
    ((NUM_GPU > 0)) || device=cpu
    run_and_forward_signals "$python" -P -m utils.commands.compare_with_transformers \
        "$model" "$config" "$data/$folder" --texts "$compared" --device "$device" \
        --eval_beams "${limits[0]}" --max_source_length "${limits[1]}" --eval_max_gen_length "${limits[2]}"
fi
RESULTS_DIR=$results run_and_forward_signals bash "$root/scripts/run_eval_summarization.sh" \
    "$model" "$PRED_BS" "$NUM_GPU" "$precision" "${limits[@]}" "$data/$folder" "$config" "${evaluation_flags[@]}"
run_and_forward_signals "$python" -P -m utils.commands.verify_published \
    "$results" --corpus "$CORPUS" --examples "$examples" "${verify_flags[@]}"
