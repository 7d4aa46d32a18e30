# shellcheck shell=bash
# shellcheck disable=SC2034 # the scripts that source this use what it sets
# Reads command lines: positional arguments, then flags.
#
# A script that uses its positional arguments itself states each of them once, in a table:
#
#   required DATA_DIR text --data_dir "a folder of line files"
#   argument LR 1e-4 number --learning_rate "highest learning rate"
#   read_arguments "notes at the end of the usage" "$@"
#
# The table gives the usage, the defaults, the checks, the flags of the Python program and the names in messages. A
# script that only passes its arguments on calls `read_command_line` with its usage instead.

# Flags of finetune.py that other programs need to read the same texts and to score in the same way, for `select_flags`.
table_flag_names="--text_column --summary_column --split"
rouge_flag_names="--rouge_sentence_splitter --rouge_tokenizer"
evaluation_flag_names="$table_flag_names $rouge_flag_names --long_documents --bertscore --bertscore_layer"

argument_names=()    # in the order of their positions
required_arguments=0 # how many of them have no default
explanations=()      # lines of the usage, in pairs: a name, its text, the next name, its text, ...
usage_breaks=""      # the positions at which the usage continues on another line
declare -A argument_default=() argument_kind=() # by name
declare -A argument_flags=()                    # by name: flags of the Python program, separated by blanks

# Adds an argument to the table. KIND is a kind of `check_value`, or choices such as 'cnn_dm|xsum|all', which the Python
# program checks. FLAGS pass the value to the Python program.
argument() { # NAME DEFAULT KIND [FLAGS [HELP]]
    argument_names+=("$1")
    argument_default[$1]=$2
    argument_kind[$1]=$3
    argument_flags[$1]=${4:-}
    [[ -z ${5:-} ]] || explain "$1" "$5"
}

# Adds an argument without a default. These come before the others.
required() { # NAME KIND [FLAGS [HELP]]
    argument "$1" "" "${@:2}"
    required_arguments=${#argument_names[@]}
}

# Names the environment variable that sets a flag of the Python program, for messages about that flag.
variable() { # NAME FLAG
    argument_flags[$1]=$2
}

# Adds a line to the usage, about several arguments or a flag.
explain() { # WHAT TEXT
    explanations+=("$1" "$2")
}

# Continues the usage on another line after the arguments so far.
break_usage() {
    usage_breaks+=" ${#argument_names[@]} "
}

# Reads a command line by the table. Sets a variable for each argument, `positionals`, `flags`, and `program_flags`: the
# flags that pass the arguments to the Python program.
read_arguments() { # NOTES ARGUMENT...
    local most=${#argument_names[@]} index name
    read_command_line "$(print_usage "$1")" "$most" "${@:2}"
    ((${#positionals[@]} >= required_arguments)) ||
        die "needs at least $required_arguments positional arguments, got ${#positionals[@]} (see --help)"
    program_flags=()
    for index in "${!argument_names[@]}"; do
        name=${argument_names[index]}
        printf -v "$name" %s "${positionals[index]:-${argument_default[$name]}}"
        check_value "$name" "${!name}" "${argument_kind[$name]}"
        add_program_flags "${argument_kind[$name]}" "${!name}" "${argument_flags[$name]}"
    done
}

# Splits a command line at its first flag into `positionals` and `flags`. Prints the usage and ends if --help is given.
read_command_line() { # USAGE MOST_POSITIONALS ARGUMENT...
    local usage=$1 most=$2 word
    shift 2
    for word in "$@"; do
        if [[ $word == --help || $word == -h ]]; then
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
        die "at most $most positional arguments allowed, ${#positionals[@]} given: remove ${positionals[*]:most}" \
            "(see --help)"
}

# Sets `selected_flags` to those of some flags that have one of the names, with their values.
select_flags() { # NAMES [--flag ...]
    local index flag given=("${@:2}")
    selected_flags=()
    for index in "${!given[@]}"; do
        flag=${given[index]}
        [[ " $1 " == *" ${flag%%=*} "* ]] || continue
        selected_flags+=("$flag")
        [[ $flag == *=* ]] || selected_flags+=("${given[@]:index+1:1}")
    done
}

print_usage() { # NOTES
    print_synopsis
    ((required_arguments > 0)) || print_defaults
    echo
    print_explanations
    echo "$1"
}

print_synopsis() {
    local index name line="usage: bash scripts/${0##*/}" brackets=""
    for index in "${!argument_names[@]}"; do
        name=${argument_names[index]}
        [[ ${argument_kind[$name]} != *'|'* ]] || name=${argument_kind[$name]} # the choices themselves
        [[ $usage_breaks != *" $index "* ]] || line+=$'\n          '
        if ((index < required_arguments)); then
            line+=" $name"
        else
            line+=" [$name"
            brackets+="]"
        fi
    done
    echo "$line$brackets [--flag ...]"
}

print_defaults() {
    local name defaults=()
    for name in "${argument_names[@]}"; do
        defaults+=("${argument_default[$name]}")
    done
    echo "default:   ${defaults[*]}"
}

# Aligns the texts in a column behind the longest name. A list of names may be longer than that.
print_explanations() {
    local index name width=0
    for ((index = 0; index < ${#explanations[@]}; index += 2)); do
        name=${explanations[index]}
        [[ $name == *,* ]] || ((${#name} + 2 <= width)) || width=$((${#name} + 2))
    done
    for ((index = 0; index < ${#explanations[@]}; index += 2)); do
        name=${explanations[index]}
        ((${#name} < width)) || name+="   "
        printf "  %-${width}s%s\n" "$name" "${explanations[index + 1]}"
    done
}

# Refuses a value that is not of its kind. The Python programs check the rest, such as ranges.
check_value() { # NAME VALUE KIND
    local pattern meaning value=$2
    case $3 in
        text | *'|'*) return ;;
        number) pattern='[0-9.]+([eE][-+]?[0-9]+)?' meaning="a number" ;;
        whole | device) pattern='0|[1-9][0-9]*' meaning="a whole number" ;;
        count) pattern='[1-9][0-9]*' meaning="a whole number from 1 up" ;;
        precision) pattern='fp16|bf16|tf32|fp32' meaning="fp16, bf16, tf32 or fp32" value=${2,,} ;;
        rank) pattern='0|[1-9][0-9]*' meaning="the number of this machine, from 0 up" ;;
        port) pattern='[1-9][0-9]*' meaning="a port number" ;;
        *) die "$1 is of the unknown kind '$3'" ;;
    esac
    [[ $value =~ ^($pattern)$ ]] || die "$1 is '$2': it must be $meaning"
}

# Adds to `program_flags` the flags that pass a value to the Python program.
add_program_flags() { # KIND VALUE FLAGS
    local flag value=$2
    case $1 in
        precision)
            set_precision_flags "$value"
            program_flags+=("${precision_flags[@]}")
            return
            ;;
        device) # a number of GPUs: the program is told cuda or cpu alone
            value=cuda
            (($2 > 0)) || value=cpu
            ;;
    esac
    for flag in $3; do
        program_flags+=("$flag" "$value")
    done
}

# Sets `precision_flags` to the flag of a precision (none for fp32). Upper and lower case are the same.
set_precision_flags() { # PRECISION
    precision_flags=()
    [[ ${1,,} == fp32 ]] || precision_flags=("--${1,,}")
}

# Exports the names of the arguments by flag, so that the Python programs can name them: `error: --fp16 (PREC): ...`.
name_arguments() {
    local name flag names=()
    for name in "${!argument_flags[@]}"; do
        for flag in ${argument_flags[$name]}; do
            names+=("${flag#--}=$name")
        done
    done
    export BART_ARGUMENT_NAMES="${names[*]}"
}

# Logs the defaults of the arguments that are not given: a mistyped preset prints none at all.
log_defaults() {
    local index name taken=()
    for index in "${!argument_names[@]}"; do
        name=${argument_names[index]}
        [[ -n ${positionals[index]:-} ]] || taken+=("$name=${!name}")
    done
    ((${#positionals[@]} > 0)) ||
        log "No arguments given. If you meant to use a preset, it printed nothing: check its name and its file."
    ((${#taken[@]} == 0)) || log "defaults used: ${taken[*]}"
}
