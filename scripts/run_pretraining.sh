#!/usr/bin/env bash
# Pre-trains BART to restore corrupted documents.
source "$(dirname -- "${BASH_SOURCE[0]}")/lib/strict.sh"
source "$root/scripts/lib/arguments.sh"
source "$root/scripts/lib/launch.sh"
source "$root/scripts/lib/jobs.sh"
source "$root/scripts/lib/results.sh"

required DATA_DIR text --data_dir \
    "folder of train.source and val.source: one paragraph a line, an empty line after each document"
required CONFIG_PATH text --config_path "configuration of the model"
required NUM_GPU whole --gpus "GPUs of each machine; 0 trains on the CPU"
required LR number --learning_rate
required BS count --train_batch_size
required ACCUM count --gradient_accumulation_steps
explain "LR, BS, ACCUM" "highest learning rate; batch size per GPU, in blocks; batches per optimizer step"
required PREC precision "--fp16 --bf16 --tf32" "fp16, bf16, tf32 or fp32"
required TRAIN_STEPS count --max_steps
required WARMUP_STEPS whole --warmup_steps
explain "TRAIN_STEPS, WARMUP_STEPS" "optimizer steps; those at the beginning in which the learning rate rises"
break_usage
required MAX_SOURCE_LEN count "--max_source_length --max_target_length" \
    "tokens of a block, which takes as many whole paragraphs of a document as fit"
argument EVAL_BS 64 count --eval_batch_size "batch size of validation per GPU (default: 64)"
argument VAL_CHECK_INTERVAL 0.25 number --val_check_interval \
    "between validations: up to 1, the fraction of an epoch; above 1, training blocks (default: 0.25)"
argument PATIENCE 10 count --early_stopping_patience \
    "validations without improvement after which the training ends (default: 10)"
explain "--flag ..." "further flags of finetune.py (python finetune.py --help lists them); they override the arguments"
variable RESULTS_DIR --output_dir

read_arguments "\
Starts from random weights with the tokenizer of --tokenizer_name_or_path, or from the model of --model_name_or_path.
Presets: bash scripts/run_pretraining.sh \$(source scripts/params/pretraining_params.sh && mini_cpu)
Paths are relative to the current folder; a preset's are relative to the checkout.
Results: \$RESULTS_DIR, by default a new folder results/bart_pyt_pretraining_<timestamp>. To continue an interrupted
training, set RESULTS_DIR to its folder and add --resume.
To use several machines or MAX_RESTARTS, see run_summarization.sh --help." "$@"
find_python
read_machines "$NUM_GPU"
leave_start_to_finetune "$NUM_GPU"
prepare_results_dir "results/bart_pyt_pretraining_$(date +%Y%m%d_%H%M%S)" "${flags[@]}"

# From the paper (section 4), fairseq's recipe for it, and RoBERTa (Liu et al. 2019, table 9), which the paper follows.
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

name_arguments
run_into_results "$log_name" "$python" "${launcher[@]}" "$root/finetune.py" \
    "${recipe[@]}" --num_nodes "$NNODES" "${results_flags[@]}" "${program_flags[@]}" "${flags[@]}"
