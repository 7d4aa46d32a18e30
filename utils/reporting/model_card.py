"""Writes the README.md of an exported model, as the Hugging Face hub shows it: its shape, data, training and scores."""

from pathlib import Path
from typing import Any

from bart.checkpoints.weights import is_checkpoint
from bart.configuration.configuration_bart import BartConfig

from ..evaluation.bertscore import BERTSCORE_NAMES
from ..evaluation.reranked_report import method_text
from ..evaluation.rouge import ROUGE_TYPES
from ..io.json_files import read_json
from ..io.run_files import BEST_MODEL_FOLDER, CARD_FILE, RUN_FILE
from .model_index import model_index

_SCORES_FILE = "test_rouge.json"
_SETTINGS = (
    *("task", "max_source_length", "max_target_length", "max_steps", "learning_rate", "lr_scheduler", "warmup_steps"),
    *("optimizer", "weight_decay", "label_smoothing", "dropout", "attention_dropout", "gradient_clip_val"),
    *("freeze_embeds", "freeze_encoder", "seed"),
)
_VERSIONS = ("python", "torch", "pytorch-lightning", "transformers")


def model_card(model: str, config: BartConfig, parameters: int) -> str:
    """Write the text of a card. Facts about the training are read from the results folder that the model lies in.

    Args:
        model: A .ckpt or a folder. A folder that lies in no results folder keeps the card that it has.
        config: The model's configuration.
        parameters: The number of its parameters.

    Raises:
        InputError: A file of the results folder is damaged.
    """
    beside, own_card = Path(model).absolute().parent, Path(model) / CARD_FILE
    run = _read(beside / RUN_FILE)
    scores = _read(beside / _SCORES_FILE)
    if run is None and own_card.is_file():
        return own_card.read_text(encoding="utf-8")
    name = beside.name if run else Path(model).name
    of_another = is_checkpoint(model) or Path(model).name != BEST_MODEL_FOLDER
    paragraphs = [_header(run, scores, None if of_another else name), f"# {name}", _shape(config, parameters)]
    if run is not None:
        paragraphs += ["## Data", _data(run), "## Training", _training(run)]
    if scores is not None:
        paragraphs += ["## Scores", _scores(scores, of_another)]
    return "\n\n".join([*paragraphs, "## Use", _use(config.prefix)]) + "\n"


def _use(prefix: str) -> str:
    text = repr(f"{prefix}A long text.")
    begins = f"Begin every text with {prefix!r}, as in training. " if prefix else ""
    return f"""```python
from transformers import AutoTokenizer, BartForConditionalGeneration

tokenizer = AutoTokenizer.from_pretrained("<this folder>")
model = BartForConditionalGeneration.from_pretrained("<this folder>")
inputs = tokenizer({text}, return_tensors="pt", truncation=True)
print(tokenizer.batch_decode(model.generate(**inputs), skip_special_tokens=True))
```

{begins}The search settings are in `generation_config.json`."""


def _read(path: Path) -> dict[str, Any] | None:
    return read_json(path) if path.is_file() else None


def _header(run: dict[str, Any] | None, scores: dict[str, Any] | None, scored: str | None) -> str:
    """Return the part that the hub reads; ``scored`` is the name of the model if the scores are its own."""
    base = run["arguments"]["model_name_or_path"] if run else "scratch"
    lines = ["library_name: transformers", "pipeline_tag: summarization", "tags: [bart, summarization]"]
    if scores is not None:
        lines.append("metrics: [rouge]")
    if base.count("/") == 1 and not Path(base).exists():  # a hub id, which the hub makes a link
        lines.append(f"base_model: {base}")
    data_dir = (scores or {}).get("data_dir") or (run["arguments"]["data_dir"] if run else None)
    if scores is not None and scored is not None and data_dir is not None and not scores.get("shuffled_sources"):
        lines.append(model_index(scored, data_dir, scores))
    return "\n".join(["---", *lines, "---"])


def _shape(config: BartConfig, parameters: int) -> str:
    layers = f"{config.encoder_layers} encoder and {config.decoder_layers} decoder layers of width {config.d_model:,}"
    heads = f"{config.encoder_attention_heads} attention heads"
    sizes = f"{config.vocab_size:,} tokens, {config.max_position_embeddings:,} positions"
    return f"A BART with {parameters / 1e6:.1f} million parameters: {layers}, {heads}, {sizes}."


def _data(run: dict[str, Any]) -> str:
    counts = ", ".join(f"{count:,} {split}" for split, count in run["examples"].items())
    return f"`{run['arguments']['data_dir']}`: {counts} examples."


def _training(run: dict[str, Any]) -> str:
    arguments, versions = run["arguments"], run["versions"]
    in_a_step = run["processes"] * arguments["train_batch_size"] * arguments["gradient_accumulation_steps"]
    precision = next((name for name in ("fp16", "bf16", "tf32") if arguments[name]), "fp32")
    budget = arguments["max_tokens_per_batch"]
    rows = {
        "started from": arguments["model_name_or_path"],
        "examples in a step": f"as many as fit into {budget:,} tokens per pass" if budget else f"{in_a_step:,}",
        "precision": precision,
        **{name: arguments[name] for name in _SETTINGS if name in arguments},  # runs of earlier versions lack some
        **({"rank of adapters (LoRA)": arguments["lora"]} if arguments.get("lora") else {}),
        **{name: versions[name] for name in _VERSIONS if name in versions},
        "git commit": run["git_commit"] or "unknown",
    }
    return _table(["setting", "value"], [[name, str(value)] for name, value in rows.items()])


def _scores(scores: dict[str, Any], of_another: bool) -> str:
    rows = [
        [name, f"{scores[name]:.2f}", "[{:.2f}, {:.2f}]".format(*scores["intervals_95"][name])] for name in ROUGE_TYPES
    ]
    if "bertscore" in scores:
        bert = scores["bertscore"]
        title = f"BERTScore {{}} ({bert['model']}, layer {bert['layer']})"
        rows += [
            [title.format(name), f"{bert[name]:.2f}", "[{:.2f}, {:.2f}]".format(*bert["intervals_95"][name])]
            for name in BERTSCORE_NAMES
        ]
    scorer = scores["scorer"]
    search = ", ".join(f"{name} {value}" for name, value in scores["search"].items() if value not in (None, False))
    by_words = f", words by {scorer['tokenizer']}" if "tokenizer" in scorer else ""
    scoring = f"{scorer['scorer']}, stemmer {scorer['stemmer']}{by_words}, sentences by {scorer['splitter']}"
    if "rerank" in scores:
        search = f"{method_text(scores['rerank'])}, found with {search}; {scores['rerank']['note']}"
    how = f"{scores['n_obs']:,} examples of {scores['split']}; {scoring}; {search}."
    best = f"The scores are those of `{BEST_MODEL_FOLDER}`, the best model of the run that this one comes from."
    whose = [best] if of_another else []
    return "\n\n".join([*whose, _table(["ROUGE times 100", "F", "95% interval"], rows), how])


def _table(head: list[str], rows: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows])
