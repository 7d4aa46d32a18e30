# shellcheck shell=bash
# shellcheck disable=SC2034 # the scripts that source this use what it sets
# Finds Python, and says how its processes are started on one machine or many. Needs strict.sh; read_machines also
# arguments.sh.

# On a machine that is not idle, threads that spin while they wait for each other hold each other up: a training step
# beside one busy process took 0.85 s with libgomp's default and 0.57 s with this (idle: 0.26 s and 0.29 s).
export GOMP_SPINCOUNT=${GOMP_SPINCOUNT:-1000}

# Sets `python`: ${PYTHON} if it is set (a container's own), else the one that setup_env.sh made. It finds the modules of
# the checkout from any folder. With -P it leaves those of the current one alone, which may have the same names.
find_python() {
    python=${PYTHON:-$root/.venv/bin/python}
    command -v -- "$python" >/dev/null || {
        [[ -z ${PYTHON:-} ]] || die "PYTHON is set to $PYTHON, which is not a program"
        die "no Python environment yet: run bash $root/scripts/setup_env.sh"
    }
    [[ $python != */* || $python == /* ]] || python=$PWD/$python # scripts change folder
    [[ -z ${PYTHON:-} ]] || export PYTHON=$python
    [[ ${PYTHONPATH:-}: == "$root":* ]] || export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}
}

# Sets `launcher`, which starts a program as the processes that work together: one for each GPU, or PROCESSES_PER_NODE on
# the CPU, on each of NNODES machines. It is empty for a single one. Sets `log_name` to the file name of this machine's log.
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
        die "PROCESSES_PER_NODE is for the CPU (NUM_GPU 0); on GPUs there is one process for each"
    fi

    launcher=()
    log_name=joblog.log
    if ((NNODES > 1)); then
        read_meeting_point
    elif ((processes > 1 || MAX_RESTARTS > 0)); then
        launcher=(--standalone --local_addr 127.0.0.1) # not by this machine's name, which in a container is often wrong
    else
        return 0
    fi
    launcher=(-P -m torch.distributed.run "${launcher[@]}" --nproc_per_node "$processes" --max_restarts "$MAX_RESTARTS")
    # In a store that is shared, processes that are started again find what the ended ones left there, and wait for them.
    export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1
}

# Sets `launcher` to the flags of torchrun by which NNODES machines find each other, and `log_name`.
read_meeting_point() {
    local is_host=0 address
    NODE_RANK=${NODE_RANK:-${SLURM_NODEID:-}}
    MASTER_PORT=${MASTER_PORT:-29500}
    check_value NODE_RANK "$NODE_RANK" rank
    check_value MASTER_PORT "$MASTER_PORT" port
    ((NODE_RANK < NNODES)) || die "NODE_RANK is $NODE_RANK: $NNODES machines are numbered from 0 to $((NNODES - 1))"
    [[ -n ${MASTER_ADDR:-} ]] || die "NNODES is $NNODES: set MASTER_ADDR to the machine whose NODE_RANK is 0"
    [[ -n ${RESULTS_DIR:-} ]] || die "NNODES is $NNODES: set RESULTS_DIR to a folder that all machines share"

    # Machine 0 is where the others meet. c10d numbers the machines by the order of their addresses, and uses that of the
    # first alone: the others give a name in its place that keeps them in the order of NODE_RANK.
    if ((NODE_RANK == 0)); then
        is_host=1
        address=$MASTER_ADDR
    else
        address=$(printf '~%05d' "$NODE_RANK") # ~ comes after all that is in an address
        log_name=joblog_node$NODE_RANK.log
    fi
    launcher=(
        --nnodes "$NNODES" --rdzv_backend c10d --rdzv_endpoint "$MASTER_ADDR:$MASTER_PORT" --rdzv_id bart
        --rdzv_conf "is_host=$is_host,read_timeout=300" --local_addr "$address"
    )
}

# Empties `launcher` if finetune.py starts the processes itself: on the GPUs of one machine, with nothing to start again.
leave_start_to_finetune() { # NUM_GPU
    ((NNODES > 1 || $1 == 0 || MAX_RESTARTS > 0)) || launcher=()
}
