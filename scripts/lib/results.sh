# shellcheck shell=bash
# shellcheck disable=SC2034 # the scripts that source this use what it sets
# The folder of a run's results, `results`. Needs strict.sh and, for run_into_results, jobs.sh.

results_are_new=false # whether this script made the folder
writes_results=true   # false if the program only looks at its input: nothing is written there, the folder may not even be

# Sets `results` to a folder, and makes it if it is missing.
make_results_dir() { # FOLDER
    local reason
    results=$1
    [[ -d $results ]] || results_are_new=true
    reason=$(mkdir -p -- "$results" 2>&1) ||
        die "RESULTS_DIR: $results cannot be made (${reason##*: }): set it to a folder that can"
    [[ -w $results ]] || die "RESULTS_DIR: $results cannot be written to: set it to another folder"
}

# Sets `results` to the folder of a training, RESULTS_DIR or the default, and makes it unless nothing is trained. Sets
# `results_flags`, by which finetune.py uses it. Refuses a folder in use. To be called after read_machines.
prepare_results_dir() { # DEFAULT [--flag ...]
    local flag may_be_used=false
    results=${RESULTS_DIR:-$1}
    results_flags=(--output_dir "$results")
    shift
    for flag in "$@"; do
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
                writes_results=false
                return
                ;;
            --output_dir | --output_dir=*) die "--output_dir: set RESULTS_DIR instead, the script uses that folder too" ;;
        esac
    done
    # finetune.py refuses a folder in use as well, but by then its log would have been written to.
    if ! $may_be_used && { [[ -e $results/metrics.json ]] || compgen -G "$results/*.ckpt" >/dev/null; }; then
        die "$results holds an earlier run: give --resume or --overwrite_output_dir, or set RESULTS_DIR to another folder"
    fi
    make_results_dir "$results"
    # Processes that are started again have the flags of the first start.
    ((MAX_RESTARTS == 0)) || results_flags+=(--resume)
}

# Runs a command, showing what it prints and adding it to a log in the results folder, and ends the script if it fails. A
# new folder goes with a command that refuses its input (exit code 2) and leaves nothing there but what it said.
run_into_results() { # LOG_NAME COMMAND...
    local log_file=$results/$1 status=0
    $writes_results || log_file=/dev/null
    run_logged "$log_file" "${@:2}" || status=$?
    ((status != 0)) || return 0
    if ((status == 2)) && $results_are_new && [[ $(ls -A -- "$results") =~ ^("$1")?$ ]]; then
        rm -f -- "$log_file"
        rmdir -- "$results"
    fi
    exit "$status"
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
