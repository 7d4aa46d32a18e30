# shellcheck shell=bash
# shellcheck disable=SC2034 # the scripts that source this use what it sets
# Sourced by every script here: strict mode and what they share.
set -euo pipefail

# macOS has bash 3.2 and no flock, Windows has neither.
if [[ $OSTYPE != linux* ]] || ((BASH_VERSINFO[0] * 100 + BASH_VERSINFO[1] < 404)); then
    echo "error: these scripts need Linux with bash 4.4 or newer (a virtual machine, a container, or WSL on Windows);" \
        "this is $OSTYPE with bash $BASH_VERSION" >&2
    exit 2
fi

unset CDPATH # with it, cd prints where it goes, and may go elsewhere

# The checkout, wherever the script was called from.
root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)

# On a machine that is not idle, threads that spin while they wait for each other hold each other up: a training step
# beside one busy process took 0.85 s with libgomp's default and 0.57 s with this (idle: 0.26 s and 0.29 s).
export GOMP_SPINCOUNT=${GOMP_SPINCOUNT:-1000}

say() { printf '%s\n' "$*" >&2; }

# Ends the script as the Python entry points end on bad input: one line, exit code 2.
die() {
    say "error: $*"
    exit 2
}

# Sets `python`: ${PYTHON} where it is set (a container's own), else the one that setup_env.sh made. It finds the modules
# of the checkout from any folder. With -P it leaves those of the current one alone, which may have the same names.
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

# Splits a command line at its first flag into `positionals` and `flags`. Where help is asked for, prints it and ends.
read_command_line() { # USAGE MOST_POSITIONALS ARGUMENT...
    local usage=$1 most=$2 argument
    shift 2
    for argument in "$@"; do
        if [[ $argument == --help || $argument == -h ]]; then
            echo "$usage"
            exit
        fi
    done
    positionals=()
    while (($# > 0)) && [[ $1 != --* ]]; do
        positionals+=("$1")
        shift
    done
    flags=("$@")
    ((${#positionals[@]} <= most)) ||
        die "${#positionals[@]} positional arguments, of at most $most: ${positionals[*]:most} is too much"
}

# Lets the Python programs name the arguments that flags come from: `error: --fp16 (PREC): ...`.
name_arguments() { # FLAG=ARGUMENT...
    export BART_ARGUMENT_NAMES=$*
}

# Refuses a variable whose value does not match a pattern. What a value may be beyond that, the Python programs check.
check() { # PATTERN MEANING NAME...
    local pattern=$1 meaning=$2 name
    shift 2
    for name in "$@"; do
        [[ ${!name} =~ ^($pattern)$ ]] || die "$name is '${!name}': it must be $meaning"
    done
}

# Sets `precision_flags` to the flags of a precision, given in any case of letters.
read_precision() { # NAME VALUE
    case ${2,,} in
        fp16 | bf16 | tf32) precision_flags=("--${2,,}") ;;
        fp32) precision_flags=() ;;
        *) die "$1 is '$2': it must be fp16, bf16, tf32 or fp32" ;;
    esac
}

# Sets `launcher`, which starts a program as the processes that work together: NUM_GPU of them, or PROCESSES_PER_NODE on
# the CPU, on each of NNODES machines. It is empty for a single one. Sets `log` to the file name of this machine's log.
read_machines() {
    NNODES=${NNODES:-1}
    MAX_RESTARTS=${MAX_RESTARTS:-0}
    check '[1-9][0-9]*' 'a whole number from 1 up' NNODES
    check '0|[1-9][0-9]*' 'a whole number' MAX_RESTARTS
    local processes=$NUM_GPU
    if ((NUM_GPU == 0)); then
        PROCESSES_PER_NODE=${PROCESSES_PER_NODE:-1}
        check '[1-9][0-9]*' 'a whole number from 1 up' PROCESSES_PER_NODE
        processes=$PROCESSES_PER_NODE
    elif [[ -n ${PROCESSES_PER_NODE:-} ]]; then
        die "PROCESSES_PER_NODE is for the CPU (NUM_GPU 0); on GPUs there is one process for each"
    fi
    launcher=()
    log=joblog.log
    if ((NNODES > 1)); then
        NODE_RANK=${NODE_RANK:-${SLURM_NODEID:-}}
        MASTER_PORT=${MASTER_PORT:-29500}
        check '0|[1-9][0-9]*' 'the number of this machine among them, from 0 up' NODE_RANK
        check '[1-9][0-9]*' 'a port' MASTER_PORT
        ((NODE_RANK < NNODES)) || die "NODE_RANK is $NODE_RANK: $NNODES machines are numbered from 0 to $((NNODES - 1))"
        [[ -n ${MASTER_ADDR:-} ]] || die "NNODES is $NNODES: set MASTER_ADDR to the machine whose NODE_RANK is 0"
        [[ -n ${RESULTS_DIR:-} ]] || die "NNODES is $NNODES: set RESULTS_DIR to a folder that all machines share"
        # Machine 0 is where the others meet. c10d numbers the machines by the order of their addresses, and uses that of
        # the first alone: the others give a name in its place that keeps them in the order of NODE_RANK.
        local is_host=0 address
        if ((NODE_RANK == 0)); then
            is_host=1
            address=$MASTER_ADDR
        else
            address=$(printf '~%05d' "$NODE_RANK") # ~ comes after all that is in an address
            log=joblog_node$NODE_RANK.log
        fi
        launcher=(
            --nnodes "$NNODES" --rdzv_backend c10d --rdzv_endpoint "$MASTER_ADDR:$MASTER_PORT" --rdzv_id bart
            --rdzv_conf "is_host=$is_host,read_timeout=300" --local_addr "$address"
        )
    elif ((processes > 1 || MAX_RESTARTS > 0)); then
        launcher=(--standalone --local_addr 127.0.0.1) # not by this machine's name, which in a container is often wrong
    else
        return 0
    fi
    launcher=(-P -m torch.distributed.run "${launcher[@]}" --nproc_per_node "$processes" --max_restarts "$MAX_RESTARTS")
    # In a store that is shared, processes that are started again find what the ended ones left there, and wait for them.
    export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1
}

# Empties `launcher` where finetune.py starts the processes itself: on the GPUs of one machine, with nothing to start again.
leave_start_to_finetune() {
    ((NNODES > 1 || NUM_GPU == 0 || MAX_RESTARTS > 0)) || launcher=()
}

# Says what is taken for the positional arguments that were not given: a mistyped preset prints none at all.
say_defaults() { # NAME...
    local index=0 name taken=()
    for name in "$@"; do
        [[ -n ${positionals[index++]:-} ]] || taken+=("$name=${!name}")
    done
    ((${#positionals[@]} > 0)) || say "No arguments were given. If a preset was meant, it printed none: see its name and file."
    ((${#taken[@]} == 0)) || say "by default: ${taken[*]}"
}

# Makes `results`, the folder of a training, by `flags` and RESULTS_DIR, unless nothing is trained.
open_results() { # DEFAULT
    local flag may_be_used=false
    for flag in "${flags[@]}"; do
        case $flag in
            --resume)
                [[ -n ${RESULTS_DIR:-} ]] || die "--resume: set RESULTS_DIR to the results folder of the run to continue"
                may_be_used=true
                ;;
            --overwrite_output_dir)
                ((MAX_RESTARTS == 0)) ||
                    die "--overwrite_output_dir: with MAX_RESTARTS each start would delete what the last one left; delete" \
                        "the folder yourself instead"
                may_be_used=true
                ;;
            --data_report | --dry_run)
                results=${RESULTS_DIR:-$1}
                keeps_log=false # nothing is written there, it may not even be
                return
                ;;
            --output_dir | --output_dir=*) die "--output_dir: set RESULTS_DIR instead, the script uses that folder too" ;;
        esac
    done
    local folder=${RESULTS_DIR:-$1}
    # finetune.py refuses a folder in use as well, but by then its log would have been written to.
    if ! $may_be_used && { [[ -e $folder/metrics.json ]] || compgen -G "$folder/*.ckpt" >/dev/null; }; then
        die "$folder holds an earlier run: give --resume or --overwrite_output_dir, or set RESULTS_DIR to another folder"
    fi
    make_results "$folder"
}

# Sets `results` to a folder, and makes it where it is not there.
make_results() { # FOLDER
    local reason
    results=$1
    new_results=false
    [[ -d $results ]] || new_results=true
    reason=$(mkdir -p -- "$results" 2>&1) ||
        die "RESULTS_DIR: $results cannot be made (${reason##*: }): set it to a folder that can"
    [[ -w $results ]] || die "RESULTS_DIR: $results cannot be written to: set it to another folder"
}

# Waits for a file that another machine has just written: on a shared file system that can take a minute to be seen.
await_file() { # FILE
    local second
    for ((second = 0; second < 90; second++)); do
        [[ ! -e $1 ]] || return 0
        sleep 1
    done
    die "$1 was written on another machine and is not seen here: RESULTS_DIR must be a folder that all machines share"
}

# Sets `training_flags`: what the scripts of training hand on to finetune.py alike, by the names of their arguments.
collect_training_flags() {
    name_arguments output_dir=RESULTS_DIR data_dir=DATA_DIR config_path=CONFIG_PATH gpus=NUM_GPU learning_rate=LR \
        train_batch_size=BS gradient_accumulation_steps=ACCUM {fp16,bf16,tf32}=PREC max_steps=TRAIN_STEPS \
        warmup_steps=WARMUP_STEPS max_source_length=MAX_SOURCE_LEN {,val_}max_target_length=MAX_TARGET_LEN \
        eval_max_gen_length=MAX_TARGET_LEN eval_batch_size=EVAL_BS val_check_interval=VAL_CHECK_INTERVAL \
        early_stopping_patience=PATIENCE
    training_flags=(
        --data_dir "$DATA_DIR"
        --config_path "$CONFIG_PATH"
        --output_dir "$results"
        --gpus "$NUM_GPU"
        --num_nodes "$NNODES"
        --learning_rate "$LR"
        --train_batch_size "$BS"
        --gradient_accumulation_steps "$ACCUM"
        "${precision_flags[@]}"
        --max_steps "$TRAIN_STEPS"
        --warmup_steps "$WARMUP_STEPS"
        --max_source_length "$MAX_SOURCE_LEN"
        --eval_batch_size "$EVAL_BS"
        --val_check_interval "$VAL_CHECK_INTERVAL"
        --early_stopping_patience "$PATIENCE"
    )
    # Processes that are started again have the flags of the first start.
    ((MAX_RESTARTS == 0)) || ! ${keeps_log:-true} || training_flags+=(--resume)
}

# Runs a command to its end and returns its exit code. Where this script was told to end meanwhile, it ends, with 130
# (INT), 143 (TERM, USR1) or 129 (HUP).
attend() { # COMMAND...
    local told=0 status=0
    run_job "$@" || status=$?
    ((told == 0)) || exit "$told"
    return "$status"
}

# Runs a command, showing what it prints and adding it to the log, and ends the script where it fails. A log that cannot
# be written fails nothing. A new results folder goes with a command that refuses its input (exit code 2) and leaves
# nothing there but what it said.
run_logged() { # LOG COMMAND...
    local file=$1 output tee told=0 status=0
    ${keeps_log:-true} || file=/dev/null
    shift
    # With bash 5.3, what stands behind >( ignores INT at first, and would no longer do so after `trap ''` alone and exec.
    exec {output}> >(trap : INT && trap '' INT TERM USR1 HUP TTOU && exec tee -a -- "$file")
    tee=$!
    PYTHONUNBUFFERED=1 run_job "$@" >&"$output" 2>&1 || status=$?
    exec {output}>&-
    wait "$tee" || true # all is shown before the script goes on
    ((told == 0)) || exit "$told"
    ((status != 0)) || return 0
    if ((status == 2)) && ${new_results:-false} && [[ $(ls -A -- "$results") =~ ^("${file##*/}")?$ ]]; then
        rm -f -- "$file"
        rmdir -- "$results"
    fi
    exit "$status"
}

# Runs a command and returns its exit code; sets `told` to the code to end with where a signal told to end meanwhile.
#
# A signal to this script alone reaches the command, which may have a checkpoint to save: it is waited for. So the
# command runs in the background, as a job (set -m) with a process group of its own: Ctrl-C then comes through this script
# too, once. Without a job, bash would have it ignore Ctrl-C. From such a job the terminal is kept away: it would stop
# what reads from it and, with stty tostop, what writes to it.
run_job() { # COMMAND...
    local job status
    set -m
    (trap '' TTOU && exec "$@") </dev/null &
    set +m
    job=$!
    trap 'told=130; tell INT "$job"' INT
    trap 'told=143; tell TERM "$job"' TERM
    trap 'told=143; tell USR1 "$job"' USR1
    trap 'told=129; tell TERM "$job"' HUP # the terminal is gone
    while
        status=0
        wait "$job" 2>/dev/null || status=$?
        kill -0 "$job" 2>/dev/null # a signal has ended the waiting, not the job
    do :; done
    trap - INT TERM USR1 HUP
    return "$status"
}

# Sends a signal to a program. Where it is torchrun, to the processes that it started: itself, it would give them 30
# seconds, and end at once at a second signal (SLURM sends to all). But if it is to start ended processes again, to it.
tell() { # SIGNAL PID
    local children=() arguments=
    { arguments=$(tr '\0' ' ' <"/proc/$2/cmdline"); } 2>/dev/null || true
    if [[ $arguments == *torch.distributed.run*" --max_restarts 0 "* ]]; then
        read -ra children <"/proc/$2/task/$2/children" || true
    elif [[ $arguments == *torch.distributed.run* && $1 == USR1 ]]; then
        set -- TERM "$2" # it hands no other on
    fi
    ((${#children[@]} > 0)) || children=("$2")
    kill -"$1" "${children[@]}" 2>/dev/null || true
}
