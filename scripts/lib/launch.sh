# shellcheck shell=bash
# shellcheck disable=SC2034 # the scripts that source this use what it sets
# Finds Python, and sets up how its processes are started, on one machine or many. Needs strict.sh; read_machines also
# needs arguments.sh.

# Threads that spin while they wait slow each other down on a busy machine, so they spin less than by default, but long
# enough for the pauses between two operations. Seconds for 130 summaries of models/bart_mini, on two cores, idle and
# beside a busy process: 3.9 and 6.6 with 1,000 turns, 3.6 and 7.2 with 2,000, 3.5 and 8.4 with 3,000, 3.3 and 9.6 with
# 5,000, 3.2 and 18 with 20,000, 3.3 and 11 by default.
export GOMP_SPINCOUNT=${GOMP_SPINCOUNT:-2000}

# Sets `python` to ${PYTHON} if that is set (as in a container), else to that of .venv, and adds the checkout to
# PYTHONPATH. The scripts call it with -P: it then ignores modules of the same names in the current folder.
find_python() {
    python=${PYTHON:-$root/.venv/bin/python}
    command -v -- "$python" >/dev/null || {
        [[ -z ${PYTHON:-} ]] || die "PYTHON is $PYTHON, which is not a program: set it to an interpreter, or unset it"
        die "there is no Python environment yet: run bash $root/scripts/setup_env.sh"
    }
    [[ $python != */* || $python == /* ]] || python=$PWD/$python # scripts change folder
    [[ -z ${PYTHON:-} ]] || export PYTHON=$python
    [[ ${PYTHONPATH:-}: == "$root":* ]] || export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}
}

# Sets `launcher` to the torchrun command that starts a process for each GPU, or PROCESSES_PER_NODE on the CPU, on each
# of NNODES machines. It is empty for a single process. Sets `log_name` to the file name of this machine's log.
read_machines() { # NUM_GPU
    local processes=$1
    NNODES=${NNODES:-1}
    MAX_RESTARTS=${MAX_RESTARTS:-0}
    check_value NNODES "$NNODES" count
    check_value MAX_RESTARTS "$MAX_RESTARTS" whole
    if (($1 == 0)); then
        processes=${PROCESSES_PER_NODE:-1}
        check_value PROCESSES_PER_NODE "$processes" count
    elif [[ -n ${PROCESSES_PER_NODE:-} ]]; then
        die "PROCESSES_PER_NODE is for the CPU (NUM_GPU 0): unset it, each GPU gets one process"
    fi

    launcher=()
    log_name=joblog.log
    if ((NNODES > 1)); then
        read_meeting_point
    elif ((processes > 1 || MAX_RESTARTS > 0)); then
        launcher=(--standalone --local_addr 127.0.0.1) # the machine's own name is often wrong in a container
    else
        return 0
    fi
    launcher=(-P -m torch.distributed.run "${launcher[@]}" --nproc_per_node "$processes" --max_restarts "$MAX_RESTARTS")
    # With a shared store, restarted processes would find what the ended ones left there, and wait for them.
    export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1
}

# Sets `launcher` to the flags by which torchrun on NNODES machines finds the others, and `log_name`.
read_meeting_point() {
    local is_host=0 address
    NODE_RANK=${NODE_RANK:-${SLURM_NODEID:-}}
    MASTER_PORT=${MASTER_PORT:-29500}
    check_value NODE_RANK "$NODE_RANK" rank
    check_value MASTER_PORT "$MASTER_PORT" port
    ((NODE_RANK < NNODES)) || die "NODE_RANK is $NODE_RANK: $NNODES machines are numbered from 0 to $((NNODES - 1))"
    [[ -n ${MASTER_ADDR:-} ]] || die "NNODES is $NNODES: set MASTER_ADDR to the name of the machine with NODE_RANK 0"
    [[ -n ${RESULTS_DIR:-} ]] || die "NNODES is $NNODES: set RESULTS_DIR to a folder that all machines share"

    # Machine 0 hosts the rendezvous. c10d numbers the machines in the order of their addresses, and connects only to
    # that of the first. So the others give a made-up address, which puts them in the order of NODE_RANK.
    if ((NODE_RANK == 0)); then
        is_host=1
        address=$MASTER_ADDR
    else
        address=$(printf '~%05d' "$NODE_RANK") # ~ sorts after every character of a real address
        log_name=joblog_node$NODE_RANK.log
    fi
    launcher=(
        --nnodes "$NNODES" --rdzv_backend c10d --rdzv_endpoint "$MASTER_ADDR:$MASTER_PORT" --rdzv_id bart
        --rdzv_conf "is_host=$is_host,read_timeout=300" --local_addr "$address"
    )
}

# Empties `launcher` if finetune.py starts the processes itself: on the GPUs of one machine, without restarts.
leave_start_to_finetune() { # NUM_GPU
    ((NNODES > 1 || $1 == 0 || MAX_RESTARTS > 0)) || launcher=()
}
