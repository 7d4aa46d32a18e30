# shellcheck shell=bash
# Runs commands that may take hours, and forwards to them the signals that end this script. Needs strict.sh.

job_pid=0      # the command that runs
pending_exit=0 # the exit code that a signal asked for while it ran: 130 (INT), 143 (TERM, USR1), 129 (HUP), or 0

# Runs a command to its end and returns its exit code. Ends the script if it was sent a signal meanwhile.
run_and_forward_signals() { # COMMAND...
    local status=0
    run_job "$@" || status=$?
    ((pending_exit == 0)) || exit "$pending_exit"
    return "$status"
}

# Runs a command in the same way, shows its output and adds it to a log. Goes on if the log cannot be written.
run_logged() { # LOG_FILE COMMAND...
    local log_file=$1 output tee status=0
    # bash 5.3 starts a >( ) with INT ignored, and exec would undo a `trap ''` alone: `trap :` before it makes it last.
    exec {output}> >(trap : INT && trap '' INT TERM USR1 HUP TTOU && exec tee -a -- "$log_file")
    tee=$!
    PYTHONUNBUFFERED=1 run_job "${@:2}" >&"$output" 2>&1 || status=$?
    exec {output}>&-
    wait "$tee" || true # until all output is shown
    ((pending_exit == 0)) || exit "$pending_exit"
    return "$status"
}

# Runs a command and returns its exit code. Sets `pending_exit`.
#
# The command may have a checkpoint to save, so a signal to this script is forwarded to it, and the script waits for its
# end. It runs in the background as a job (set -m), in a process group of its own: so Ctrl-C reaches it once, through
# this script. (Without a job, bash would make it ignore Ctrl-C.) It cannot read the terminal and ignores TTOU, because
# a terminal stops background jobs that read from it and, with stty tostop, those that write to it.
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

# Sends a signal to a program. If that is torchrun without restarts, sends it to the processes that torchrun started:
# torchrun would give them 30 seconds, and end at once at a second signal (SLURM signals all processes). With restarts,
# sends it to torchrun, which would otherwise start the processes again.
forward_signal() { # SIGNAL PID
    local signal=$1 children=() command=
    { command=$(tr '\0' ' ' <"/proc/$2/cmdline"); } 2>/dev/null || true
    if [[ $command == *torch.distributed.run*" --max_restarts 0 "* ]]; then
        read -ra children <"/proc/$2/task/$2/children" || true
    elif [[ $command == *torch.distributed.run* && $signal == USR1 ]]; then
        signal=TERM # it does not forward USR1
    fi
    ((${#children[@]} > 0)) || children=("$2")
    kill -"$signal" "${children[@]}" 2>/dev/null || true
}
