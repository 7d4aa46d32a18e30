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

# GPUs that the reference did not train on. BS of the smaller two is an estimate: bart-large with frozen embeddings (406
# million parameters, 353 of them trained) holds 1.6 GB of weights, 1.4 GB of gradients, 2.8 GB of Adam's averages and
# 0.8 GB of half-precision copies, 6.6 GB in all. For the backward pass a sequence of 1024 + 60 tokens keeps 56 MB in
# each encoder and decoder layer, 0.69 GB with its logits; 1.0 GB leaves room for what that pass itself needs.

# 16 GB, no bf16 and no tf32: 6.6 + 4 x 1.0 = 10.6 GB. EVAL_BS and PRED_BS: the reference's largest batch on a T4.
t4_1gpu_fp16()           { _train     1    7e-5  4 28 fp16  7000 200  32  32 0.3 1; }
t4_1gpu_fp16_eval()      { _evaluate  1               fp16                32; }

h100_8gpu_bf16()         { _train     8 1.25e-4 40  1 bf16  2000  50 128 128 0.1 2; }
h100_8gpu_bf16_eval()    { _evaluate  8               bf16               128; }

h200_1gpu_bf16()         { _train     1 1.25e-4 40  8 bf16  2000  50 128 128 0.1 2; }
h200_1gpu_bf16_eval()    { _evaluate  1               bf16               128; }

# 24 GB: 6.6 + 10 x 1.0 = 16.6 GB.
rtx4090_1gpu_bf16()      { _train     1 1.25e-4 10 32 bf16  2000  50  64  32 0.1 2; }
rtx4090_1gpu_bf16_eval() { _evaluate  1               bf16                32; }
