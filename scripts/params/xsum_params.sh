#!/usr/bin/env bash
# Presets for XSum. Each function prints the positional arguments of scripts/run_summarization.sh; the one named with
# `_eval` prints those of scripts/run_eval_summarization.sh after INIT_CKPT. Paths are relative to the checkout.

_train() { # NUM_GPU LR BS ACCUM PREC TRAIN_STEPS WARMUP_STEPS EVAL_BS PRED_BS VAL_CHECK_INTERVAL PATIENCE
    echo data/xsum configs/config_xsum.json "$1" "$2" "$3" "$4" "$5" "$6" "$7" 1024 60 6 "$8" "$9" "${10}" "${11}"
}

_evaluate() { # NUM_GPU PREC PRED_BS
    echo "$3" "$1" "$2" 6 1024 60 data/xsum configs/config_xsum.json
}

# The presets of the reference recipe.
dgxa100_8gpu_fp16()      { _train     8 1.25e-4 40  1 fp16  2000  50 128 128 0.1 2; }
dgxa100_8gpu_fp16_eval() { _evaluate  8               fp16               128; }

dgxa100_8gpu_tf32()      { _train     8 1.25e-4 24  1 tf32  3333  50 128  64 0.1 2; }
dgxa100_8gpu_tf32_eval() { _evaluate  8               tf32                64; }

dgx2_16gpu_fp16()        { _train    16    1e-4 14  1 fp16  3500 100 128  96 0.3 1; }
dgx2_16gpu_fp16_eval()   { _evaluate 16               fp16                96; }

dgx2_16gpu_fp32()        { _train    16 1.25e-4  8  1 fp32  6125 150  96  32 0.3 1; }
dgx2_16gpu_fp32_eval()   { _evaluate 16               fp32                32; }

dgx1_8gpu_fp16()         { _train     8    7e-5 14  1 fp16  7000 200 128  64 0.3 1; }
dgx1_8gpu_fp16_eval()    { _evaluate  8               fp16                96; }

dgx1_8gpu_fp32()         { _train     8    7e-5  8  1 fp32 12250 200  96  32 0.3 1; }
dgx1_8gpu_fp32_eval()    { _evaluate  8               fp32                32; }

# One GPU of the machines above: as many examples per step, so the same learning rate and steps.
dgxa100_1gpu_fp16()      { _train     1 1.25e-4 40  8 fp16  2000  50 128 128 0.1 2; }
dgxa100_1gpu_fp16_eval() { _evaluate  1               fp16               128; }

dgxa100_1gpu_tf32()      { _train     1 1.25e-4 24  8 tf32  3333  50 128  64 0.1 2; }
dgxa100_1gpu_tf32_eval() { _evaluate  1               tf32                64; }

dgx1_1gpu_fp16()         { _train     1    7e-5 14  8 fp16  7000 200 128  64 0.3 1; }
dgx1_1gpu_fp16_eval()    { _evaluate  1               fp16                96; }

dgx1_1gpu_fp32()         { _train     1    7e-5  8  8 fp32 12250 200  96  32 0.3 1; }
dgx1_1gpu_fp32_eval()    { _evaluate  1               fp32                32; }

# GPUs that the reference did not train on. On an H200 (commit 4babf91) bart-large in bf16, all parameters trained, took
# 6.1 GB and 0.49 GB a sequence of 1024 + 60 tokens: 17.9 GB for 24 of them, 25.7 GB for 40.
# BS of the smaller two was reckoned with 1.0 GB a sequence. It stays until larger batches have been tried with the
# kernels of such cards, by rows largest_batch_* of scripts/benchmark/gpu_acceptance.sh --part 2.

# 16 GB, no bf16 and no tf32: 6.1 + 4 x 0.49 = 8.1 GB; 16 would take 13.9 GB.
# EVAL_BS and PRED_BS: the reference's largest batch on a T4.
t4_1gpu_fp16()           { _train     1    7e-5  4 28 fp16  7000 200  32  32 0.3 1; }
t4_1gpu_fp16_eval()      { _evaluate  1               fp16                32; }

h100_8gpu_bf16()         { _train     8 1.25e-4 40  1 bf16  2000  50 128 128 0.1 2; }
h100_8gpu_bf16_eval()    { _evaluate  8               bf16               128; }

h200_1gpu_bf16()         { _train     1 1.25e-4 40  8 bf16  2000  50 128 128 0.1 2; }
h200_1gpu_bf16_eval()    { _evaluate  1               bf16               128; }

# 24 GB: 6.1 + 10 x 0.49 = 11.0 GB; 32 would take 21.8 GB.
rtx4090_1gpu_bf16()      { _train     1 1.25e-4 10 32 bf16  2000  50  64  32 0.1 2; }
rtx4090_1gpu_bf16_eval() { _evaluate  1               bf16                32; }
