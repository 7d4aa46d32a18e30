# shellcheck shell=bash
# shellcheck disable=SC2034 # the scripts that source this set phase_count
# Announces the phases of a script by number, and says how long each took. Needs strict.sh.

phase_count=0    # how many there will be
phase_names=()   # of those that have begun
phase_seconds=() # of those that have ended
phase_start=0    # when the newest began, by `uptime_seconds`

# Ends the phase before, if there is one, and announces the next.
begin_phase() { # NAME WHAT_IT_DOES
    end_phase
    phase_names+=("$1")
    phase_start=$(uptime_seconds)
    log ""
    log "[${#phase_names[@]}/$phase_count] $1: $2"
}

# Ends the phase that has begun, and says how long it took.
end_phase() {
    ((${#phase_seconds[@]} < ${#phase_names[@]})) || return 0
    phase_seconds+=($(($(uptime_seconds) - phase_start)))
    log "[${#phase_names[@]}/$phase_count] ${phase_names[-1]} took $(duration "${phase_seconds[-1]}")."
}

# Prints the seconds since the machine was started. SECONDS would follow a clock that is set meanwhile.
uptime_seconds() {
    local seconds
    read -r seconds _ </proc/uptime
    echo "${seconds%.*}"
}

# Prints the time of each phase that has ended, and of all of them.
print_phase_times() {
    local index total=0
    echo "Time of each phase:"
    for index in "${!phase_seconds[@]}"; do
        printf '  %-14s%12s\n' "${phase_names[index]}" "$(duration "${phase_seconds[index]}")"
        ((total += phase_seconds[index])) || true # 0 is no failure
    done
    printf '  %-14s%12s\n' total "$(duration "$total")"
}

# Prints seconds as people read them: 41 s, 4 min 05 s.
duration() { # SECONDS
    if (($1 < 60)); then
        echo "$1 s"
    else
        printf '%d min %02d s\n' $(($1 / 60)) $(($1 % 60))
    fi
}
