# shellcheck shell=bash
# shellcheck disable=SC2034 # the scripts that source this use what it sets
# Makes the folder of a run's results (`results`), and runs commands into it. Needs strict.sh and, for run_into_results,
# jobs.sh.

results_are_new=false # whether this script made the folder
writes_results=true   # false with --data_report and --dry_run, which write nothing there and need no such folder

# Sets `results` to a folder. A name that begins with a minus would be taken for a flag.
name_results_dir() { # FOLDER
    results=$1
    [[ $results != -* ]] || results=./$results
}

# Sets `results` to a folder, and makes it if it is missing.
make_results_dir() { # FOLDER
    local reason
    name_results_dir "$1"
    [[ -d $results ]] || results_are_new=true
    reason=$(mkdir -p -- "$results" 2>&1) ||
        die "RESULTS_DIR: cannot make $results (${reason##*: }): choose another folder"
    [[ -w $results ]] || die "RESULTS_DIR: cannot write to $results: choose another folder"
}

# Sets `results` to the folder of a training, RESULTS_DIR or the default, and makes it unless nothing is trained. Sets
# `results_flags`, which pass it to finetune.py. Refuses a folder that is in use. Call read_machines before.
prepare_results_dir() { # DEFAULT [--flag ...]
    local flag may_be_used=false checkpoints
    name_results_dir "${RESULTS_DIR:-$1}"
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
                    die "--overwrite_output_dir: with MAX_RESTARTS, each restart would delete the results so far:" \
                        "delete the folder yourself instead"
                may_be_used=true
                ;;
            --data_report | --dry_run)
                writes_results=false
                return
                ;;
            --output_dir | --output_dir=*) die "--output_dir: set RESULTS_DIR instead, which the whole script uses" ;;
        esac
    done
    # finetune.py refuses such a folder as well, but only after this script has written to the log there.
    checkpoints=("$results"/*.ckpt) # the pattern itself if there are none
    if ! $may_be_used && [[ -e $results/metrics.json || -e ${checkpoints[0]} ]]; then
        die "$results holds the results of a run: give --resume or --overwrite_output_dir, or set RESULTS_DIR to another folder"
    fi
    make_results_dir "$results"
    # Restarted processes get the flags of the first start.
    ((MAX_RESTARTS == 0)) || results_flags+=(--resume)
}

# Runs a command, shows its output and adds it to a log in the results folder, and ends the script if it fails. If it
# refuses its input (exit code 2), removes a new folder that holds nothing but this log.
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

# Waits for a file that another machine has just written: a shared file system may take a minute to show it.
await_file() { # FILE
    local second
    for ((second = 0; second < 90; second++)); do
        [[ ! -e $1 ]] || return 0
        sleep 1
    done
    die "$1 was written by another machine and is missing here: set RESULTS_DIR to a folder that all machines share"
}
