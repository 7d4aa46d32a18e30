"""The systems that scripts/benchmark/compare_training.py compares, each in a process of its own, step by step.

A process reads requests from its standard input, a JSON object a line, and answers each with one on its standard
output. {"start": {...}} begins a training with these settings and stops before its first step. {"steps": n} takes n
steps, and times them from before the first one to before the one that follows, loading included. {"peak": precision}
measures the peak speed of the machine.

python -m scripts.benchmark.training_systems ours WORK.json
"""

import gc
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bart.modeling.modeling_bart import IGNORE_INDEX
from utils.data.batch import EXACT, FEW
from utils.data.batch_sampler import LengthBucketSampler
from utils.training.flops import measured_peak

LEARNING_RATE, WEIGHT_DECAY, CLIP = 1e-4, 0.1, 0.1
_MANY_STEPS = 100_000
_KINDS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Stopped(Exception):
    """Raised in a training that is to end."""


class Gate:
    """Makes a training wait before each step for requests, and answers them."""

    def __init__(
        self, read: Callable[[], dict[str, Any]], write: Callable[[dict[str, Any]], None], device: str
    ) -> None:
        self._read, self._write, self._device = read, write, device
        self._left: int | None = None  # steps until the next answer; None before the first request
        self._started = 0.0
        self._tokens: Any = 0  # a tensor on the device: counting does not wait for a GPU
        self._losses: list[Any] = []

    def step(self) -> None:
        """Wait before a step until it is asked for. Raises Stopped if another training is asked for."""
        if self._left is not None:
            self._left -= 1
            if self._left > 0:
                return
        if self._device == "cuda":
            torch.cuda.synchronize()
        seconds = time.perf_counter() - self._started if self._left is not None else 0.0
        losses, tokens = [float(loss) for loss in self._losses], int(self._tokens)
        self._write({"seconds": seconds, "tokens": tokens, "losses": losses, "peak_bytes": peak_bytes(self._device)})
        request = self._read()
        if "peak" in request:
            self._write({"peak": measured_peak(self._device, _KINDS[request["peak"]])})
            request = self._read()
        if "steps" not in request:
            raise Stopped
        self._left, self._tokens, self._losses = request["steps"], 0, []
        self._started = time.perf_counter()

    def count(self, tokens: Any, loss: Any) -> None:
        """Record a step: its non-pad source and target tokens, and the mean loss."""
        self._tokens = self._tokens + tokens
        self._losses.append(loss)


def train_ours(work: dict[str, Any], settings: dict[str, Any], gate: Gate) -> None:
    """Train this project's module in Lightning's trainer, with the callbacks that act at every step."""
    import pytorch_lightning as pl

    from bart.modeling.modeling_bart import BartForConditionalGeneration
    from utils.data.batch import Batch, BatchDataset
    from utils.data.loaders import TrainingLoader
    from utils.training.callbacks.metrics_history import TrainingHistory
    from utils.training.module import SummarizationModule
    from utils.training.optimization import freeze
    from utils.training.precision_plugin import precision_plugin

    class AtGate(pl.Callback):
        def on_train_batch_start(self, trainer: Any, module: Any, batch: Batch, batch_index: int) -> None:
            gate.step()

        def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Batch, batch_index: int) -> None:
            tokens = batch.attention_mask.sum() + batch.step_target_tokens
            gate.count(tokens, outputs["loss_sum"] / batch.step_target_tokens)

    arguments = _our_arguments(work, settings["precision"])
    model = BartForConditionalGeneration.from_pretrained(work["model"])
    freeze(model.train(), embeddings=work["freeze_embeds"], encoder=False)
    if work["compile"]:
        model.compile_layers()
    examples = _examples(work)
    dataset = BatchDataset(examples, model.config.pad_token_id, model.config.max_position_embeddings)
    order = training_order(work, settings)
    torch.manual_seed(0)
    trainer = pl.Trainer(
        accelerator="gpu" if work["device"] == "cuda" else "cpu",
        devices=1,
        max_steps=_MANY_STEPS,
        max_epochs=1,
        limit_val_batches=0,
        plugins=[precision_plugin(arguments.precision, work["device"])],
        callbacks=[AtGate(), TrainingHistory(Path(work["model"]) / "metrics.json", 10, order.steps_per_epoch)],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    module = SummarizationModule(
        model, arguments.optimization, arguments.validation, _MANY_STEPS, None, [], arguments.to_dict()
    )
    loader = TrainingLoader(
        dataset, order, _MANY_STEPS, num_workers=0, pin_memory=work["device"] == "cuda", data_checksum=0
    )
    trainer.fit(module, loader)


def train_transformers(work: dict[str, Any], settings: dict[str, Any], gate: Gate) -> None:
    """Train Hugging Face's model (sdpa) in its own Trainer."""
    import transformers

    class AtGate(transformers.TrainerCallback):
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            gate.step()

    class Trainer(transformers.Trainer):
        def compute_loss(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
            tokens = inputs["attention_mask"].sum() + (inputs["labels"] != IGNORE_INDEX).sum()
            loss = super().compute_loss(model, inputs, *args, **kwargs)
            gate.count(tokens, (loss[0] if isinstance(loss, tuple) else loss).detach())
            return loss

    model = transformers.BartForConditionalGeneration.from_pretrained(work["model"], attn_implementation="sdpa")
    if work["freeze_embeds"]:
        sides = (model.model.encoder, model.model.decoder)
        for module in (model.model.shared, *(side.embed_positions for side in sides)):
            module.requires_grad_(False)
    examples = _examples(work)
    rows = np.arange(len(examples.source_lengths))
    if settings["sampling"] == "ours":  # the batches of this project, in its order
        order = training_order(work, settings)
        rows = np.concatenate([plan.indices for plan in order.batches(0, settings["planned_steps"])])
    lengths = [int(examples.source_lengths[row]) for row in rows]
    data = [
        dict(zip(("input_ids", "labels"), examples.example(row, 0), strict=True), length=length)
        for row, length in zip(rows, lengths, strict=True)
    ]
    arguments = transformers.TrainingArguments(
        output_dir=str(Path(work["model"]) / "trainer"),
        per_device_train_batch_size=settings["batch_size"],
        max_steps=_MANY_STEPS,
        learning_rate=LEARNING_RATE,
        lr_scheduler_type="constant",
        weight_decay=WEIGHT_DECAY,
        max_grad_norm=CLIP,
        label_smoothing_factor=work["label_smoothing"],
        bf16=settings["precision"] == "bf16",
        fp16=settings["precision"] == "fp16",
        use_cpu=work["device"] == "cpu",
        train_sampling_strategy={"ours": "sequential"}.get(settings["sampling"], settings["sampling"]),
        remove_unused_columns=False,
        save_strategy="no",
        logging_steps=10,
        report_to="none",
        disable_tqdm=True,
        seed=work["seed"],
    )
    torch.manual_seed(0)
    collate = _collate(model.config)
    Trainer(model, arguments, train_dataset=data, data_collator=collate, callbacks=[AtGate()]).train()


def training_order(work: dict[str, Any], settings: dict[str, Any]) -> LengthBucketSampler:
    """Make this project's order of batches."""
    return LengthBucketSampler(
        np.array(work["source_lengths"]),
        np.array(work["target_lengths"]),
        batch_size=settings.get("batch_size", 1),
        accumulation=1,
        seed=work["seed"],
        group_by_length=True,
        max_tokens=settings.get("max_tokens"),
        multiples=FEW if work.get("few_shapes") else EXACT,
    )


def _our_arguments(work: dict[str, Any], precision: str) -> Any:
    from utils.cli.training_args import MixedPrecisionSettings, OptimizationSettings, TrainingArguments

    optimization = OptimizationSettings(
        learning_rate=LEARNING_RATE,
        lr_scheduler="constant",
        warmup_steps=0,
        weight_decay=WEIGHT_DECAY,
        gradient_clip_val=CLIP,
        label_smoothing=work["label_smoothing"],
    )
    numbers = MixedPrecisionSettings(**({precision: True} if precision != "fp32" else {}), amp_backend="native")
    return TrainingArguments(optimization=optimization, precision=numbers)


def _examples(work: dict[str, Any]) -> Any:
    """Draw texts of random tokens, <s> first and </s> last, of the given lengths."""
    from utils.data.examples import Origin, PairExamples
    from utils.data.tokens.token_array import TokenStore

    random = np.random.default_rng(work["seed"])

    def texts(lengths: list[int]) -> TokenStore:
        tokens = [np.r_[0, random.integers(5, work["vocab_size"] - 1, length - 2), 2] for length in lengths]
        return TokenStore(np.concatenate(tokens).astype(np.int32), np.cumsum([0, *lengths]))

    stores = texts(work["source_lengths"]), texts(work["target_lengths"])
    return PairExamples(*stores, Origin(Path("random"), np.arange(0)))


def _collate(config: Any) -> Callable[[list[dict[str, Any]]], dict[str, Any]]:
    """Pad batches to their longest text and add decoder_input_ids, as transformers' own collator does."""
    from bart.modeling.modeling_bart import shift_tokens_right
    from utils.data.batch import pad_sources

    def collate(examples: list[dict[str, Any]]) -> dict[str, Any]:
        input_ids, attention_mask = pad_sources([example["input_ids"] for example in examples], config.pad_token_id, 0)
        targets, counted = pad_sources([example["labels"] for example in examples], config.pad_token_id, 0)
        labels = targets.masked_fill(counted == 0, IGNORE_INDEX)
        decoder_input_ids = shift_tokens_right(labels, config.pad_token_id, config.decoder_start_token_id)
        return {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "decoder_input_ids": decoder_input_ids,
            "labels": labels,
        }

    return collate


def peak_bytes(device: str) -> int:
    """Return the peak memory so far, in bytes: on a CPU that of the process, on a GPU that of its tensors."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def forget_memory(device: str) -> None:
    """Free what an earlier training has left on a GPU, and measure the peak anew."""
    if device == "cuda":
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def main(name: str, work_path: str) -> None:
    """Answer requests until the input ends."""
    work = json.loads(Path(work_path).read_text(encoding="utf-8"))
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # keeps the output of trainers out of the answers

    def read() -> dict[str, Any]:
        line = sys.stdin.readline()
        request: dict[str, Any] = json.loads(line) if line else {}
        requests.append(request)
        return request

    def write(answer: dict[str, Any]) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    torch.set_num_threads(work["threads"])
    if name in work["keep_freed_memory"]:
        from utils.runtime.malloc import keep_freed_memory

        keep_freed_memory()
    requests: list[dict[str, Any]] = []
    read()
    while requests[-1]:
        train = {"ours": train_ours, "transformers": train_transformers}[name]
        forget_memory(work["device"])
        with suppress(Stopped):
            train(work, requests[-1]["start"], Gate(read, write, work["device"]))


if __name__ == "__main__":
    main(*sys.argv[1:])
