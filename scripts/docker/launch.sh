#!/usr/bin/env bash
# Starts a session in the container: the current folder is /workspace/bart there.
source "$(dirname -- "${BASH_SOURCE[0]}")/../lib/strict.sh"
source "$root/scripts/lib/arguments.sh"

usage="usage: bash scripts/docker/launch.sh [COMMAND [GPUS]]
default:   bash all

  COMMAND  what to run, as a line of bash
  GPUS     all, none, how many, or which (device=0,3); without GPUs on this machine the default is none
Image: \$BART_IMAGE, by default bart_pyt (scripts/docker/build.sh makes it). Files are written as the calling user; what
comes from the hub is kept in the user's own cache. Variables that the scripts read go along (RESULTS_DIR, NNODES,
MAX_RESTARTS, BART_DATA, HF_HUB_OFFLINE ...); PYTHON is the container's own."

read_command_line "$usage" 2 "$@"
((${#flags[@]} == 0)) || die "${flags[0]}: a command with flags is one argument, so put quotes around it"
line=${positionals[0]:-bash}
chosen=${positionals[1]:-}
command -v docker >/dev/null || die "docker is not installed"

if [[ -z $chosen ]]; then
    chosen=all
    nvidia-smi --list-gpus >/dev/null 2>&1 || {
        log "No GPU is found on this machine: the container gets none."
        chosen=none
    }
fi
case $chosen in
    none) gpus=() ;;
    all | [1-9] | [1-9][0-9]) gpus=(--gpus "$chosen") ;;
    device=*) gpus=(--gpus "\"$chosen\"") ;; # docker splits at commas what is not in quotes
    *) die "GPUS is '$chosen': it must be all, none, a number or device=0,3" ;;
esac

# What the scripts and the programs read, where it is set.
variables=()
for name in RESULTS_DIR NNODES NODE_RANK MASTER_ADDR MASTER_PORT PROCESSES_PER_NODE MAX_RESTARTS \
    BART_DATA BART_DATA_SOURCE MODEL CONFIG TOKENIZER HF_TOKEN HF_ENDPOINT HF_HUB_OFFLINE OMP_NUM_THREADS; do
    variables+=(--env "$name")
done

terminal=()
[[ ! -t 0 || ! -t 1 ]] || terminal=(--interactive --tty)

cache=${HF_HOME:-$HOME/.cache/huggingface}
mkdir -p -- "$cache" # docker would make it as root

# IPC: batches from worker processes come through shared memory, of which a container has little of its own. Network:
# many machines reach each other by their own names. HOME and USER: the user has no account in the container.
exec docker run --rm "${terminal[@]}" "${gpus[@]}" \
    --ipc host \
    --network host \
    --ulimit memlock=-1 \
    --ulimit stack=67108864 \
    --user "$(id -u):$(id -g)" \
    --env HOME=/tmp \
    --env USER="$(id -un)" \
    --env HF_HOME=/cache/huggingface \
    "${variables[@]}" \
    --volume "$cache:/cache/huggingface" \
    --volume "$PWD:/workspace/bart" \
    --workdir /workspace/bart \
    "${BART_IMAGE:-bart_pyt}" bash -c "$line"
