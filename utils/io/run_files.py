"""The names of the files and folders that a training and an evaluation write."""

METRICS_FILE = "metrics.json"
RUN_FILE = "run.json"
DATA_REPORT_FILE = "data_report.json"
PAGE_FILE = "results.html"
CARD_FILE = "README.md"  # the model card, under the name that the hub expects
TUNED_CONFIG_FILE = "config.json"  # in the results folder of a tuning
TUNING_FILE = "tuning.json"
SCORED_SETTINGS_FOLDER = "scored_settings"
LOGS_FOLDER = "logs"
TOKENIZER_FOLDER = "tokenizer"  # beside a run's checkpoints
BEST_MODEL_FOLDER = "best_tfmr"
ADAPTER_FOLDER = "adapter"  # of a training with --lora, in peft's format
AVERAGED_MODEL_FOLDER = "averaged_tfmr"
AVERAGED_RESULTS_FOLDER = "averaged"  # how the averaged model compares, and its evaluation
AVERAGE_FILE = "average.json"
PRETRAINED_FOLDER = "pretrained"  # below a training's results: an evaluation of the model that it began with
BEAM_SEARCH_FOLDER = "beam_search"  # beside summaries that were re-ranked: what the plain search found


def generations_file(split: str) -> str:
    """Name the file whose line i is the summary of line i of the split."""
    return f"{split}_generations.txt"


def all_generations_file(split: str) -> str:
    """Name the file whose line i is a JSON list of the summaries of line i of the split, if there are several."""
    return f"{split}_generations.jsonl"


def rows_file(split: str) -> str:
    """Name the file whose line i is the row, from 1, that line i of the split was in the file which --split divided."""
    return f"{split}_rows.txt"


def report_file(split: str) -> str:
    """Name the file of the scores of an evaluation, and of how they were computed."""
    return f"{split}_rouge.json"


def key_file(split: str) -> str:
    """Name the file that says what was evaluated, by digests; for a split without targets, which has no report."""
    return f"{split}_key.json"


def example_scores_file(split: str) -> str:
    """Name the file of the scores of each example."""
    return f"{split}_example_scores.json"


def journal_file(split: str, rank: int) -> str:
    """Name the file to which a process writes the summaries as they come; it is deleted when the results are there."""
    return f"{split}_journal.{rank}.jsonl"


def journal_pattern(split: str) -> str:
    """Return a pattern of the journals of all processes."""
    return f"{split}_journal.*.jsonl"


def evaluation_files(split: str) -> list[str]:
    """Name all files that an evaluation of the split writes, except the page."""
    names = [generations_file(split), report_file(split), example_scores_file(split)]
    others = [all_generations_file(split), rows_file(split), key_file(split)]
    return [*names, *others, *(f"{BEAM_SEARCH_FOLDER}/{name}" for name in names)]
