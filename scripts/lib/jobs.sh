# shellcheck shell=bash
# Runs commands that may take hours, and hands on to them the signals that end this script. Needs strict.sh.

job_pid=0      # the command that runs
pending_exit=0 # the exit code that a signal asked for while it ran: 130 (INT), 143 (TERM, USR1), 129 (HUP), or 0

# Runs a command to its end and returns its exit code. If a signal came to this script meanwhile, ends it.
run_and_forward_signals() { # COMMAND...
    local status=0
    run_job "$@" || status=$?
    ((pending_exit == 0)) || exit "$pending_exit"
    return "$status"
}

# Does the same, showing what the command prints and adding it to a log. A log that cannot be written fails nothing.
run_logged() { # LOG_FILE COMMAND...
    local log_file=$1 output tee status=0
    # With bash 5.3, what stands behind >( ignores INT at first, and would no longer do so after `trap ''` alone and exec.
    exec {output}> >(trap : INT && trap '' INT TERM USR1 HUP TTOU && exec tee -a -- "$log_file")
    tee=$!
    PYTHONUNBUFFERED=1 run_job "${@:2}" >&"$output" 2>&1 || status=$?
    exec {output}>&-
    wait "$tee" || true # all is shown before the script goes on
    ((pending_exit == 0)) || exit "$pending_exit"
    return "$status"
}

# Runs a command and returns its exit code. Sets `pending_exit`.
#
# A signal to this script alone reaches the command, which may have a checkpoint to save: it is waited for. So the
# command runs in the background, as a job (set -m) with a process group of its own: Ctrl-C then comes through this script
# too, once. Without a job, bash would have it ignore Ctrl-C. From such a job the terminal is kept away: it would stop
# what reads from it and, with stty tostop, what writes to it.
run_job() { # COMMAND...
    local status
    pending_exit=0
    set -m
    (trap '' TTOU && exec "$@") </dev/null &
    set +m
    job_pid=$!
    trap 'pending_exit=130; forward_signal INT "$job_pid"' INT
    trap 'pending_exit=143; forward_signal TERM "$job_pid"' TERM
    trap 'pending_exit=143; forward_signal USR1 "$job_pid"' USR1
    trap 'pending_exit=129; forward_signal TERM "$job_pid"' HUP # the terminal is gone
    while
        status=0
        wait "$job_pid" 2>/dev/null || status=$?
        kill -0 "$job_pid" 2>/dev/null # a signal has ended the waiting, not the job
    do :; done
    trap - INT TERM USR1 HUP
    return "$status"
}

# Sends a signal to a program. If it is torchrun, sends it to the processes that it started: itself, it would give them 30
# seconds, and end at once at a second signal (SLURM sends to all). But if it is to start ended processes again, to it.
forward_signal() { # SIGNAL PID
    local signal=$1 children=() command=
    { command=$(tr '\0' ' ' <"/proc/$2/cmdline"); } 2>/dev/null || true
    if [[ $command == *torch.distributed.run*" --max_restarts 0 "* ]]; then
        read -ra children <"/proc/$2/task/$2/children" || true
    elif [[ $command == *torch.distributed.run* && $signal == USR1 ]]; then
        signal=TERM # it hands no other on
    fi
    ((${#children[@]} > 0)) || children=("$2")
    kill -"$signal" "${children[@]}" 2>/dev/null || true
}
