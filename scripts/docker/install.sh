#!/usr/bin/env bash
# Installs the locked requirements beside the torch and the numpy of `python`; the Dockerfile's only step.
# scripts/docker/emulate.sh takes it too. FOLDER holds keep_torch.py and, of requirements/, runtime.txt and numpy1.txt.
set -euo pipefail
folder=${1:?"usage: bash install.sh FOLDER"}

python "$folder/keep_torch.py" split "$folder"
# PIP_CONSTRAINT replaces the file of NVIDIA's images, which holds every package at the version that they bring.
PIP_CONSTRAINT=$folder/constraints.txt PIP_BREAK_SYSTEM_PACKAGES=1 \
    python -m pip install --no-cache-dir --require-hashes --requirement "$folder/requirements.txt"
python "$folder/keep_torch.py" check "$folder"
