"""A training: texts in, the best model and its scores on the test split out.

``fine_tune`` has four phases. Whatever can be refused is refused in the first one, before anything expensive.
"""

import logging
import warnings
from dataclasses import dataclass
from pathlib import Path

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from bart.generation.arguments import check_call
from bart.modeling.modeling_bart import BartForConditionalGeneration
from bart.out_of_memory import out_of_memory_as

from ..checkpoint.disk_space import check_disk_space
from ..checkpoint.export import save_model
from ..checkpoint.resume import check_steps, complete_arguments
from ..checkpoint.run_folder import checkpoint_to_resume, open_run_folder
from ..cli.args import TrainingArguments
from ..cli.command_line import with_argument_names
from ..data.batch_sampler import TrainingLoader
from ..data.examples import validation_loader
from ..data.report import data_report
from ..data.report_text import whole_report
from ..data.training_data import RawTexts, TokenizedData, read_inputs, tokenize_inputs
from ..evaluation.evaluate import EvaluationSettings
from ..evaluation.generate import BatchSize
from ..io.folder_lock import FolderLock
from ..io.run_files import BEST_MODEL_FOLDER
from ..reporting.results_page.page import write_page
from ..runtime.cpu_affinity import bind_to_gpu_cores
from ..runtime.malloc import keep_freed_memory
from ..runtime.precision import apply_matmul_precision, check_precision, evaluation_dtype
from ..runtime.signals import Interrupted
from ..runtime.world import (
    WorldInfo,
    leave_process_group,
    local_process_rank,
    process_count,
    process_rank,
    resolve_world,
)
from ..training.amp import choose_amp_backend
from ..training.batch_size_finder import fit_batch
from ..training.compilation import compile_where_possible
from ..training.dry_run import dry_run
from ..training.loggers import check_loggers
from ..training.module import SummarizationModule, validation_search
from ..training.optimization import freeze
from ..training.run_description import describe_run, record_data_report
from ..training.strategies.select import check_strategy
from ..training.trainer import build_trainer
from .evaluate import evaluate_and_write, final_search, print_result


@dataclass(frozen=True)
class Decision:
    """What is to be trained, and from where."""

    arguments: TrainingArguments  # as given, and what follows from the configuration and the machine
    world: WorldInfo
    checkpoint: Path | None  # of the run that goes on
    inputs: RawTexts
    notes: list[str]  # lines about what was chosen


@dataclass(frozen=True)
class Training:
    """All that a training needs, ready to begin."""

    module: SummarizationModule
    trainer: pl.Trainer
    train_loader: TrainingLoader
    val_loader: DataLoader


def fine_tune(arguments: TrainingArguments) -> None:
    """Train as the command line says. Raises InputError if its input is unusable."""
    _quieten_libraries()
    world = resolve_world(arguments.gpus, arguments.num_nodes)
    writes = world.rank == 0 and not arguments.dry_run
    with FolderLock(Path(arguments.output_dir), "--output_dir", writes) as lock:
        decision = decide(arguments, world)
        training = build(decision, lock)
        if training is None:  # it was a dry run
            return
        train(decision, training)
        leave_process_group()
        if training.trainer.is_global_zero:
            finish(decision, training.trainer)


def decide(arguments: TrainingArguments, world: WorldInfo) -> Decision:
    """Read what a training begins with. Raises InputError for all that can be refused at no expense."""
    if world.on_gpu:
        torch.cuda.set_device(local_process_rank())  # a trial comes before Lightning's own choice
    check_precision(arguments.precision, world.on_gpu)
    check_loggers(arguments)
    if not world.on_gpu:
        keep_freed_memory()
    arguments, amp_backend = choose_amp_backend(arguments, world.processes)

    checkpoint = None
    if not arguments.dry_run and (world.rank == 0 or arguments.resume):
        checkpoint = checkpoint_to_resume(arguments)
    inputs = read_inputs(arguments, checkpoint)
    arguments = complete_arguments(arguments, inputs.config, checkpoint)
    check_strategy(arguments, inputs.config, world.on_gpu)

    if arguments.eval_beams > 0:
        check_call(inputs.config, validation_search(arguments))
    if inputs.test is not None:
        check_call(inputs.config, final_search(arguments, inputs.config))
    return Decision(arguments, world, checkpoint, inputs, [] if amp_backend is None else [amp_backend])


def build(decision: Decision, lock: FolderLock) -> Training | None:
    """Make the model, the tokens, the results folder and the trainer; None after a dry run."""
    arguments, world, inputs = decision.arguments, decision.world, decision.inputs
    notes = list(decision.notes)
    apply_matmul_precision(arguments.precision)

    # Random weights, too, are the same in all processes; then dropout differs between them.
    pl.seed_everything(arguments.seed, verbose=False)
    model = build_model(arguments, inputs, decision.checkpoint)
    if arguments.compile:
        why_not_compiled = compile_where_possible(model, world.on_gpu)
        notes += [] if why_not_compiled is None else [why_not_compiled]
    if world.rank > 0:
        pl.seed_everything(arguments.seed + world.rank, verbose=False)

    data = tokenize_inputs(arguments, inputs, world)
    if arguments.auto_batch_size and decision.checkpoint is None:
        arguments, data.order = fit_batch(arguments, model, data.order, world)
    if arguments.dry_run:
        dry_run(arguments, inputs, data, world, model)
        return None

    if decision.checkpoint is not None:
        check_steps(data.total_steps, decision.checkpoint)
    if world.rank == 0:
        if arguments.check_disk_space:
            check_disk_space(arguments, model)
        open_run_folder(arguments, decision.checkpoint, lock)
        describe_run(arguments, inputs, data, model)
        for note in notes:
            print(note, flush=True)
        record_data_report(arguments, data_report(arguments, inputs, data))
    if world.on_gpu and arguments.cpu_affinity:
        bind_to_gpu_cores(local_process_rank())  # after the tokens, which are prepared on all cores
    return _ready(arguments, inputs, data, world, model)


def build_model(
    arguments: TrainingArguments, inputs: RawTexts, checkpoint: Path | None
) -> BartForConditionalGeneration:
    """The model to start from, in training mode, what is to be frozen frozen."""
    if checkpoint is not None or arguments.model_name_or_path == "scratch":
        model = BartForConditionalGeneration(inputs.config)  # the trainer reads a checkpoint's weights
    else:
        model = BartForConditionalGeneration.from_pretrained(arguments.model_name_or_path, inputs.config)
    freeze(model.train(), arguments.freeze_embeds, arguments.freeze_encoder)
    if arguments.gradient_checkpointing:
        model.enable_gradient_checkpointing()
    return model


def _ready(
    arguments: TrainingArguments,
    inputs: RawTexts,
    data: TokenizedData,
    world: WorldInfo,
    model: BartForConditionalGeneration,
) -> Training:
    workers, pin_memory = arguments.num_workers, world.on_gpu
    checksum = data.train.examples.checksum()
    return Training(
        SummarizationModule(model, arguments, data.total_steps, inputs.tokenizer, data.val_references),
        build_trainer(arguments, inputs.config, data, world),
        TrainingLoader(data.train, data.order, data.total_steps, workers, pin_memory, checksum),
        validation_loader(
            data.val, arguments.eval_batch_size, world.processes, world.rank, workers, pin_memory
        ),
    )


def train(decision: Decision, training: Training) -> None:
    """Take all steps. Raises OutOfMemory, which names the flags, and Interrupted after a signal."""
    trainer = training.trainer
    try:
        with out_of_memory_as(
            "out of memory: lower --train_batch_size and raise --gradient_accumulation_steps as much, or give "
            "--auto_batch_size or --gradient_checkpointing; if it was in validation, lower --eval_batch_size"
        ):
            trainer.fit(
                training.module,
                training.train_loader,
                training.val_loader,
                ckpt_path=decision.checkpoint,
                weights_only=True,
            )
    except Interrupted:
        if decision.world.rank == 0 and trainer.checkpoint_callback.last_saved_step == trainer.global_step > 0:
            flags = with_argument_names(f"--output_dir {decision.arguments.output_dir}") + " and --resume"
            print(f"told to end: saved at step {trainer.global_step}; the same command with {flags} goes on")
        raise


def finish(decision: Decision, trainer: pl.Trainer) -> None:
    """Write the best model as a Hugging Face folder and evaluate it on the test split."""
    arguments, inputs = decision.arguments, decision.inputs
    folder = Path(arguments.output_dir)
    best = BartForConditionalGeneration.from_pretrained(trainer.checkpoint_callback.best_checkpoint())
    save_model(best, inputs.tokenizer, folder / BEST_MODEL_FOLDER)
    if inputs.test is None:
        write_page(folder)
        return
    settings = EvaluationSettings(
        split="test",
        prefix=inputs.config.prefix,
        batch_size=BatchSize(arguments.eval_batch_size),
        max_source_length=arguments.max_source_length,
        long_documents=arguments.long_documents,
        search=final_search(arguments, inputs.config),
        splitter=arguments.rouge_sentence_splitter,
    )
    facts = {
        "model": str(folder / BEST_MODEL_FOLDER),
        "precision": arguments.precision,
        "data_dir": arguments.data_dir,
    }
    device = "cuda" if decision.world.on_gpu else "cpu"
    best.to(device, evaluation_dtype(arguments.precision)).prepack()
    print_result(evaluate_and_write(best, inputs.tokenizer, inputs.test, settings, folder, facts), folder)


def print_data_report(arguments: TrainingArguments) -> None:
    """Say what the data are like; needs neither weights, nor the GPUs, nor a results folder."""
    _quieten_libraries()
    if process_rank() > 0:
        return
    processes = (arguments.gpus or 1) * (arguments.num_nodes or 1)
    world = WorldInfo(on_gpu=False, processes=max(processes, process_count()), rank=0)
    inputs = read_inputs(arguments, checkpoint=None)
    arguments = complete_arguments(arguments, inputs.config, checkpoint=None)
    print("\n".join(whole_report(data_report(arguments, inputs, tokenize_inputs(arguments, inputs, world)))))


def _quieten_libraries() -> None:
    """Leave out warnings about what is meant as it is."""
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)  # its import sets another level
    for text in (
        ".*does not have many workers",  # --num_workers is the user's to choose
        ".*smaller than the logging interval",  # of Lightning's logging, not used here
        "The `srun` command is available",  # with SLURM, a job may still do without
        ".*lr_scheduler.step.. before .optimizer.step",  # fp16 may skip the first steps
        ".*optimizer.step... has been overridden",  # by apex
        ".*LeafSpec.* is deprecated",  # between Lightning and torch
    ):
        warnings.filterwarnings("ignore", text)
