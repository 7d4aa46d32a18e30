"""Extend a model's positions, let it learn to find an answer behind those that it had, and measure memory and time.

A synthetic text says a rumour (an adjective and a noun) at its beginning and the secret (two others) behind token
--answer_behind; the summary is the secret. The share of test texts that are answered exactly is told of the model that
is extended and has not seen such texts, of one that is trained on these texts cut at its own length, and of one that is
trained at --max_positions. The latter is also read by transformers, whose logits are compared in float64. With --stages
they learn from shorter texts before, the answer anywhere: all three from those that fit the model's own positions, the
last also from longer ones. Then a few steps are trained at each of --lengths, with and without gradient checkpointing.
All by finetune.py and run_eval.py, in processes of their own.

Example: python -m scripts.benchmark.long_documents --device cuda --precision bf16 --json long_documents.json
"""

import json
import random
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bart.errors import InputError
from utils.cli.options import above, at_least, between, option
from utils.cli.run import run_command
from utils.cli.shared_args import MOST_POSITIONS

if TYPE_CHECKING:
    from bart.tokenization.tokenization_bart import BartTokenizer

# Torch and transformers take seconds to import, so the functions do it: --help and a wrong flag are answered at once.

ROOT = Path(__file__).parents[2]
ADJECTIVES = "old new long short simple common hidden open empty local"
NOUNS = "tree image window server paper color queue box map event"
_STAGE = re.compile(r"([0-9]+)x([0-9]+)")
_SENTENCE = 40  # tokens of an answer or a rumour, at most
_WORDS = 20  # tokens beside them, at the least
_COMPARED = 2  # texts whose logits are compared with transformers'
_LARGEST_DIFFERENCE = 1e-9


@dataclass
class LongDocumentsArguments:
    """The command line."""

    model: str = option("models/bart_mini", "model", "folder of the model to extend")
    max_positions: int = option(4096, "model", "positions to extend it to", check=between(2, MOST_POSITIONS))
    answer_behind: int = option(1024, "texts", "tokens of a text before its answer, at least", check=at_least(1))
    rumours: int = option(1, "texts", "sentences at the beginning that are like the answer", check=at_least(0))
    examples: int = option(2000, "texts", "texts to learn from", check=at_least(1))
    test_examples: int = option(200, "texts", "texts to answer", check=at_least(_COMPARED))
    seed: int = option(42, "texts", "seed of the texts", check=at_least(0))
    stages: str = option(
        "none", "training", "trainings before on shorter texts, as LENGTHxSTEPS, shortest first: 512x400,1152x200"
    )
    steps: int = option(400, "training", "optimizer steps", check=at_least(2))
    batch_size: int = option(8, "training", "texts of a step", check=at_least(1))
    learning_rate: float = option(5e-4, "training", "highest learning rate", check=above(1e-7))
    lengths: str = option(
        "1024,2048,4096,8192,16384", "lengths", "tokens of the sources whose memory and time are measured, or none"
    )
    length_batch_size: int = option(1, "lengths", "texts of a step", check=at_least(1))
    length_steps: int = option(5, "lengths", "steps to take, of which the first does not count", check=at_least(2))
    device: str = option("cpu", "systems", "device to run on", choices=("cpu", "cuda"))
    precision: str = option("fp32", "systems", "precision", choices=("fp32", "tf32", "bf16", "fp16"))
    json: str | None = option(None, "output", "file for the figures, as JSON")

    def check(self) -> None:
        """Raise InputError if the lengths are no numbers, or the texts have no room behind the answer."""
        if self.lengths != "none":
            for length in self.lengths.split(","):
                if not length.isdigit() or not 2 * _SENTENCE <= int(length) <= MOST_POSITIONS:
                    limits = f"{2 * _SENTENCE} to {MOST_POSITIONS}"
                    raise InputError(f"--lengths {length}: give none, or numbers from {limits}")
        stage_lengths = [length for length, _ in self.training_stages]
        if stage_lengths != sorted(stage_lengths):
            raise InputError(f"--stages {self.stages}: give the shortest texts first")
        most = self.max_positions - self.sentence_tokens
        if self.answer_behind > most:
            raise InputError(f"--answer_behind {self.answer_behind}: the texts would be too long; give {most} or less")

    @property
    def training_stages(self) -> list[tuple[int, int]]:
        """Return the length of the texts and the steps of each of --stages. Raises InputError."""
        if self.stages == "none":
            return []
        stages = [_STAGE.fullmatch(stage) for stage in self.stages.split(",")]
        found = [(int(stage[1]), int(stage[2])) for stage in stages if stage is not None]
        shortest = self.shortest_text
        fits = all(shortest <= length <= self.max_positions and steps >= 2 for length, steps in found)
        if len(found) < len(stages) or not fits:
            limits = f"lengths from {shortest} to {self.max_positions}, and 2 steps or more"
            raise InputError(f"--stages {self.stages}: give none, or {limits}, such as 512x400,1152x200")
        return found

    @property
    def extend(self) -> list[str]:
        """Return the flags of finetune.py for texts that do not fit the model's own positions."""
        return ["--max_positions", str(self.max_positions), "--gradient_checkpointing"]

    @property
    def shortest_text(self) -> int:
        """Return the tokens of the shortest text of a stage: the answer, the rumours, and some words."""
        return self.sentence_tokens + _WORDS

    @property
    def sentence_tokens(self) -> int:
        """Return the tokens of the answer and the rumours, at most."""
        return (1 + self.rumours) * _SENTENCE


def measure(arguments: LongDocumentsArguments) -> None:
    """Print the figures, and write them to --json if it is given. Raises InputError if transformers' logits differ."""
    from bart.checkpoints.weights import read_config
    from utils.io.json_files import write_json
    from utils.runtime.hardware import describe_machine

    own_positions = read_config(arguments.model).max_position_embeddings
    if arguments.answer_behind < own_positions:
        raise InputError(
            f"--answer_behind {arguments.answer_behind}: the model has {own_positions} positions; give that or more"
        )
    report: dict[str, Any] = {"arguments": asdict(arguments), "machine": describe_machine()}
    print(f"{arguments.model}: {own_positions:,} positions; {report['machine']}", flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        report["exact"] = find_answers(arguments, own_positions, folder)
        report["largest_difference"] = compare_logits(folder / "extended" / "best_tfmr", folder / "data")
        print(f"transformers' logits differ by {report['largest_difference']:.1e} at most", flush=True)
        report["lengths"] = list(measure_lengths(arguments, folder))
    if arguments.json is not None:
        write_json(arguments.json, report)
    if report["largest_difference"] > _LARGEST_DIFFERENCE:
        raise InputError(f"--model {arguments.model}: transformers computes other logits of it when it is extended")


def find_answers(arguments: LongDocumentsArguments, own_positions: int, folder: Path) -> dict[str, float]:
    """Return the share of exact answers of each model; "not trained" is the one before it has seen longer texts."""
    from bart.checkpoints.weights import read_config
    from bart.modeling.modeling_bart import BartForConditionalGeneration
    from bart.tokenization.tokenization_bart import BartTokenizer
    from utils.checkpoint.export import save_model

    tokenizer = BartTokenizer.from_pretrained(arguments.model)
    # Short outputs, whatever the model's own search is.
    search = {"num_beams": 1, "min_length": 0, "max_length": 20, "no_repeat_ngram_size": 0}
    config = read_config(arguments.model).copy(**search, max_new_tokens=None)
    (folder / "config.json").write_text(json.dumps(config.to_dict()))
    started, grown = train_on_shorter(arguments, tokenizer, own_positions, folder)
    longest = arguments.max_positions
    data = folder / "data"
    shortest = (arguments.answer_behind + arguments.sentence_tokens + longest) // 2
    write_texts(arguments, tokenizer, data, range(shortest, longest + 1), arguments.answer_behind)
    model = BartForConditionalGeneration.from_pretrained(started, max_positions=longest)
    save_model(model, tokenizer, folder / "untrained")
    del model

    runs = {
        "extended, not trained": ("untrained", started, longest),
        f"trained, cut at {own_positions}": ("cut", started, own_positions),
        f"trained, extended to {longest}": ("extended", grown, longest),
    }
    shares = {}
    for title, (name, model_name, length) in runs.items():
        evaluated = folder / name
        if name != "untrained":
            flags = arguments.extend if length > own_positions else []
            evaluated = train(replace(arguments, model=model_name), folder, data, folder / name, length, flags)
        shares[title] = exact_share(arguments, folder, evaluated, length)
        print(f"{title:28} {shares[title]:6.1%} of {arguments.test_examples} answers are exact", flush=True)
    return shares


def train_on_shorter(
    arguments: LongDocumentsArguments, tokenizer: "BartTokenizer", own_positions: int, folder: Path
) -> tuple[str, str]:
    """Train the model on the texts of --stages; return it after those that fit its own positions, and after all."""
    started = grown = arguments.model
    for number, (length, steps) in enumerate(arguments.training_stages):
        data, results = folder / f"data_{number}", folder / f"stage_{number}"
        batch_size = arguments.batch_size * arguments.max_positions // length  # as many tokens in a step as later
        shorter = replace(arguments, model=grown, steps=steps, batch_size=batch_size, examples=steps * batch_size)
        write_texts(shorter, tokenizer, data, range(shorter.shortest_text, length + 1), answer_behind=1)
        fits = length <= own_positions
        grown = str(train(shorter, folder, data, results, length, [] if fits else arguments.extend))
        started = grown if fits else started
        print(f"{steps} steps were taken with texts of up to {length} tokens", flush=True)
    return started, grown


def write_texts(
    arguments: LongDocumentsArguments,
    tokenizer: "BartTokenizer",
    folder: Path,
    lengths: Sequence[int],
    answer_behind: int,
) -> None:
    """Write a data folder of texts of ``lengths`` tokens, each as likely; the test texts are different ones."""
    generator = random.Random(arguments.seed)
    examples = {"train": arguments.examples, "val": max(1, arguments.test_examples // 4)}
    for split, count in {**examples, "test": arguments.test_examples}.items():
        drawn = (generator.choice(lengths) for _ in range(count))
        pairs = make_texts(drawn, answer_behind, arguments.rumours, tokenizer, generator)
        _write_split(folder, split, list(pairs))


def make_texts(
    lengths: Iterator[int], answer_behind: int, rumours: int, tokenizer: "BartTokenizer", generator: random.Random
) -> Iterator[tuple[str, str]]:
    """Yield a text of at most so many tokens for each of ``lengths``, and its answer.

    The other words are those of docs/*.md. The answer stands at a random place behind token ``answer_behind``, and
    rumours at random places of the first half of the tokens before that (at the front, if there are none).
    """
    documents = " ".join(path.read_text(encoding="utf-8") for path in (ROOT / "docs").glob("*.md"))
    words = sorted({word for word in documents.split() if word.isalpha()} - {*ADJECTIVES.split(), *NOUNS.split()})
    sizes = {word: len(tokenizer(f" {word}", add_special_tokens=False)["input_ids"]) for word in words}

    def filler(tokens: int) -> list[str]:
        chosen: list[str] = []
        while tokens >= sizes[word := generator.choice(words)]:
            chosen.append(word)
            tokens -= sizes[word]
        return chosen

    def secret() -> str:
        return f"{generator.choice(ADJECTIVES.split())} {generator.choice(NOUNS.split())}"

    for length in lengths:
        answer, filled = secret(), length - (1 + rumours) * _SENTENCE
        place = generator.randint(answer_behind, filled)
        start = filler(place)
        while sum(map(sizes.__getitem__, start)) < answer_behind:  # the last word did not fit
            start.append(min(words, key=lambda word: sizes[word]))
        for _ in range(rumours):
            start.insert(generator.randint(0, len(start) * answer_behind // (2 * place)), f"The rumour is {secret()} .")
        end = filler(filled - place)
        yield " ".join([*start, f"The secret is {answer} .", *end]), answer


def _write_split(folder: Path, split: str, pairs: Sequence[tuple[str, str]]) -> None:
    folder.mkdir(exist_ok=True)
    for side, texts in zip(("source", "target"), zip(*pairs, strict=True), strict=True):
        (folder / f"{split}.{side}").write_text("".join(f"{text}\n" for text in texts))


def train(
    arguments: LongDocumentsArguments, folder: Path, data: Path, results: Path, length: int, flags: list[str]
) -> Path:
    """Fine-tune the model at this length, and return the best one. Raises InputError with finetune.py's last line."""
    given = {
        **{"data_dir": data, "output_dir": results, "max_source_length": length, "seed": arguments.seed},
        **{"config_path": folder / "config.json", "model_name_or_path": arguments.model},
        **{"gpus": int(arguments.device == "cuda"), "max_steps": arguments.steps, "n_test": 0, "logger": "none"},
        **{"train_batch_size": arguments.batch_size, "eval_batch_size": arguments.batch_size},
        **{"learning_rate": arguments.learning_rate, "warmup_steps": arguments.steps // 10, "label_smoothing": 0},
        **{"gradient_clip_val": 1, "early_stopping_patience": 1000, "val_check_interval": 1.0},
    }
    command = [text for name, value in given.items() for text in (f"--{name}", str(value))]
    _run("finetune.py", [*command, "--no-freeze_embeds", "--no-check_disk_space", *_precision(arguments), *flags])
    return results / "best_tfmr"


def exact_share(arguments: LongDocumentsArguments, folder: Path, model: Path, length: int) -> float:
    """Evaluate a model on the test split, and return the share of the answers that are right to the letter."""
    results = folder / f"evaluation_{length}_{model.name}"
    texts = [str(model), str(folder / "config.json"), str(folder / "data"), str(results)]
    flags = ["--max_source_length", str(length), "--max_target_length", "20", "--bs", str(arguments.batch_size)]
    _run("run_eval.py", [*texts, *flags, "--device", arguments.device, *_precision(arguments)])
    answers = (results / "test_generations.txt").read_text().splitlines()
    return statistics.mean(map(str.__eq__, answers, (folder / "data" / "test.target").read_text().splitlines()))


def compare_logits(model: Path, data: Path) -> float:
    """Return the largest difference of logits between transformers and this project, of a few whole test texts."""
    import torch
    import transformers

    from bart.modeling.modeling_bart import BartForConditionalGeneration
    from bart.tokenization.tokenization_bart import BartTokenizer

    theirs = transformers.BartForConditionalGeneration.from_pretrained(model).double().eval()
    ours = BartForConditionalGeneration.from_pretrained(model).double()
    tokenizer = BartTokenizer.from_pretrained(model)
    positions, differences = ours.config.max_position_embeddings, []
    texts = [(data / f"test.{side}").read_text().splitlines()[:_COMPARED] for side in ("source", "target")]
    for source, target in zip(*texts, strict=True):
        ids, labels = (tokenizer(f" {text}", return_tensors="pt").input_ids[:, :positions] for text in (source, target))
        with torch.no_grad():
            differences.append((ours(ids, labels=labels).logits - theirs(ids, labels=labels).logits).abs().max().item())
    return max(differences)


def measure_lengths(arguments: LongDocumentsArguments, folder: Path) -> Iterator[dict[str, Any]]:
    """Train a few steps at each length; yield seconds of a step and the peak memory, and print them."""
    from bart.checkpoints.weights import read_config
    from bart.tokenization.tokenization_bart import BartTokenizer

    lengths = [] if arguments.lengths == "none" else [int(length) for length in arguments.lengths.split(",")]
    if not lengths:
        return
    generator, tokenizer = random.Random(arguments.seed), BartTokenizer.from_pretrained(arguments.model)
    count, longest = arguments.length_batch_size * arguments.length_steps, max(lengths) + 2 * _SENTENCE
    for split, texts in (("train", count), ("val", 1)):
        pairs = make_texts(iter([longest] * texts), 1, 0, tokenizer, generator)
        _write_split(folder / "length_data", split, list(pairs))
    own_positions = read_config(arguments.model).max_position_embeddings
    short = LongDocumentsArguments(
        **{**asdict(arguments), "steps": arguments.length_steps, "batch_size": arguments.length_batch_size}
    )
    for length in lengths:
        for checkpointing in (False, True):
            results = folder / f"length_{length}_{checkpointing}"
            flags = ["--max_positions", str(max(length, own_positions)), "--log_every_n_steps", "1"]
            flags += ["--gradient_checkpointing"] if checkpointing else []
            figures: dict[str, Any] = {"length": length, "gradient_checkpointing": checkpointing}
            try:
                train(short, folder, folder / "length_data", results, length, flags)
            except InputError as error:
                if "out of memory" not in str(error):
                    raise
                figures["refused"] = str(error)
            else:
                metrics = json.loads((results / "metrics.json").read_text())
                rates = [record["sequences_per_second"] for record in metrics["speed"][1:]]
                figures["seconds_per_step"] = arguments.length_batch_size / statistics.median(rates)
                figures["peak_memory_gb"] = metrics["throughput"]["peak_memory_gb"]
            print(length_line(figures), flush=True)
            yield figures


def length_line(figures: dict[str, Any]) -> str:
    """Say the figures of a length in a line."""
    kept = "layers computed again" if figures["gradient_checkpointing"] else "all kept"
    name = f"{figures['length']:>6,} tokens, {kept}"
    if "refused" in figures:
        return f"{name:36} out of memory"
    return f"{name:36} {figures['seconds_per_step']:8.3f} s a step, {figures['peak_memory_gb']:6.2f} GB"


def _precision(arguments: LongDocumentsArguments) -> list[str]:
    return [] if arguments.precision == "fp32" else [f"--{arguments.precision}"]


def _run(script: str, flags: list[str]) -> None:
    """Run a program of this project. Raises InputError with its last line if it fails."""
    process = subprocess.run(
        [sys.executable, str(ROOT / script), *flags], capture_output=True, text=True, check=False
    )
    if process.returncode != 0:
        said = (process.stderr.strip() or process.stdout.strip() or "nothing was said").splitlines()[-1]
        raise InputError(f"{script} ended with code {process.returncode}: {said}")


if __name__ == "__main__":
    sys.exit(run_command(LongDocumentsArguments, __doc__, measure))
