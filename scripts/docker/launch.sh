#!/usr/bin/env bash
# Runs a command in the container, in which the current folder is /workspace/bart.
source "$(dirname -- "${BASH_SOURCE[0]}")/../lib/strict.sh"
source "$root/scripts/lib/arguments.sh"

usage="usage: bash scripts/docker/launch.sh [COMMAND [GPUS]]
default:   bash all

  COMMAND  a command line for bash, in quotes
  GPUS     all, none, a number, or certain ones (device=0,3); on a machine without GPUs the default is none
Runs the image \$BART_IMAGE, by default bart_pyt, which scripts/docker/build.sh builds. Writes files as the calling
user, and keeps downloads from the hub in that user's cache. Passes on the variables that the scripts read (RESULTS_DIR,
NNODES, MAX_RESTARTS, BART_DATA, HF_HUB_OFFLINE ...), except for PYTHON, which the image sets."

read_command_line "$usage" 2 "$@"
((${#flags[@]} == 0)) || die "${flags[0]}: put quotes around a command that has flags, to make it one argument"
line=${positionals[0]:-bash}
chosen=${positionals[1]:-}
command -v docker >/dev/null || die "docker is not installed"

if [[ -z $chosen ]]; then
    chosen=all
    nvidia-smi --list-gpus >/dev/null 2>&1 || {
        log "No GPU found on this machine: starting the container without one."
        chosen=none
    }
fi
case $chosen in
    none) gpus=() ;;
    all | [1-9] | [1-9][0-9]) gpus=(--gpus "$chosen") ;;
    device=*) gpus=(--gpus "\"$chosen\"") ;; # docker splits at commas what is not in quotes
    *) die "GPUS is '$chosen': it must be all, none, a number or device=0,3" ;;
esac

# The variables that the scripts and the programs read, if they are set.
variables=()
for name in RESULTS_DIR NNODES NODE_RANK MASTER_ADDR MASTER_PORT PROCESSES_PER_NODE MAX_RESTARTS \
    DATA_DIR BART_DATA BART_DATA_SOURCE MODEL CONFIG TOKENIZER HF_TOKEN HF_ENDPOINT HF_HUB_OFFLINE OMP_NUM_THREADS; do
    variables+=(--env "$name")
done

terminal=()
[[ ! -t 0 || ! -t 1 ]] || terminal=(--interactive --tty)

cache=${HF_HOME:-$HOME/.cache/huggingface}
mkdir -p -- "$cache" # docker would make it as root
for folder in "$PWD" "$cache"; do
    [[ $folder != *:* ]] || die "$folder has a colon in its name, at which docker splits names: use another folder"
done

# ipc: worker processes hand over batches in shared memory, of which a container has little of its own. network: several
# machines reach each other by their names. HOME and USER: the user has no account in the container.
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
