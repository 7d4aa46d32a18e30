"""A training: texts in, the best model and its scores on the test split out.

``fine_tune`` has four phases: ``decide`` refuses what can be refused without weights and tokens, ``build`` the rest
before it changes the results folder; then ``train`` and ``finish``. The loop of ``train`` is Lightning's: a step is
``training_step`` in utils/training/module.py, its batches come from utils/data/loaders.py, and
utils/training/callbacks/__init__.py lists what happens between steps.
"""

import logging
import warnings
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from bart.configuration.configuration_bart import BartConfig
from bart.errors import InputError
from bart.generation.arguments import check_call
from bart.modeling.modeling_bart import BartForConditionalGeneration
from bart.modeling.vocabulary_growth import grow_vocabulary
from bart.out_of_memory import out_of_memory_as

from ..checkpoint.disk_space import check_disk_space
from ..checkpoint.export import save_model
from ..checkpoint.resume import check_steps, check_unchanged, with_batch_shapes, with_batches_of
from ..checkpoint.run_folder import checkpoint_to_resume, open_run_folder
from ..cli.options import to_values
from ..cli.run import with_argument_names
from ..cli.training_args import (
    DataSettings,
    DistributedSettings,
    ModelSettings,
    OptimizationSettings,
    TrainingArguments,
    ValidationSettings,
)
from ..data.loaders import TrainingLoader, validation_loader
from ..data.report import data_report
from ..data.report_text import full_report, short_report
from ..data.training_data import RawTexts, read_inputs, tokenize_inputs
from ..data.workers import check_workers, worker_death_named
from ..evaluation.bertscore import check_bertscore
from ..evaluation.evaluate import EvaluationSettings
from ..evaluation.generate import BatchSize
from ..evaluation.journal import delete_journals
from ..evaluation.scoring import ScoringSettings
from ..io.folder_lock import FolderLock
from ..io.run_files import ADAPTER_FOLDER, AVERAGED_MODEL_FOLDER, AVERAGED_RESULTS_FOLDER, BEST_MODEL_FOLDER
from ..reporting.results_page.page import write_page
from ..runtime.collectives import leave_process_group
from ..runtime.cpu_affinity import bind_to_gpu_cores
from ..runtime.gpu_memory import use_expandable_segments
from ..runtime.malloc import keep_freed_memory, limit_primitive_cache
from ..runtime.precision import apply_matmul_precision, check_precision, evaluation_dtype
from ..runtime.signals import Interrupted
from ..runtime.world import (
    WorldInfo,
    local_process_rank,
    process_count,
    process_rank,
    resolve_world,
)
from ..training.adapters import add_adapters, check_peft, save_adapter
from ..training.amp import choose_amp_backend
from ..training.batch_size_finder import fit_batch
from ..training.compilation import compile_where_possible
from ..training.dry_run import dry_run
from ..training.loggers import build_loggers, check_loggers
from ..training.module import SummarizationModule, validation_search
from ..training.optimization import freeze
from ..training.run_description import record_data_report, write_run_description
from ..training.strategies.select import check_strategy
from ..training.trainer import build_callbacks, build_trainer, shared_trainer_kwargs, validate_alone
from .average_checkpoints import average_checkpoints
from .evaluate import computation, divided_fact, evaluate_and_write, final_search, print_result


@dataclass(frozen=True)
class Decision:
    """What is to be trained, and from where."""

    arguments: TrainingArguments  # as given, and what follows from the configuration and the machine
    world: WorldInfo
    checkpoint: Path | None  # of the run that is resumed
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
    world = resolve_world(arguments.processes.gpus, arguments.processes.num_nodes)
    writes = world.rank == 0 and not arguments.run.dry_run
    with FolderLock(Path(arguments.run.output_dir), "--output_dir", writes) as lock:
        decision = decide(arguments, world)
        training = build(decision, lock)
        if training is None:  # it was a dry run
            return
        train(decision, training)
        leave_process_group()
        if training.trainer.is_global_zero:
            finish(decision, training)


def decide(arguments: TrainingArguments, world: WorldInfo) -> Decision:
    """Read what a training begins with. Raises InputError for all that can be refused at no expense."""
    model, run = arguments.model, arguments.run

    # The machine: its GPUs, precision, packages.
    if world.on_gpu:
        torch.cuda.set_device(local_process_rank())  # a trial comes before Lightning's own choice
        use_expandable_segments()
    check_precision(arguments.precision.name, world.on_gpu)
    check_loggers(run)
    check_workers(arguments.data.num_workers, loaders=2)  # a validation comes while the training's workers wait
    check_peft(model.lora)
    if not world.on_gpu:
        keep_freed_memory()
        limit_primitive_cache()
    precision, amp_backend = choose_amp_backend(arguments.precision, model, world.processes)
    arguments = replace(arguments, precision=precision)

    # The inputs: a run that is resumed, texts, configuration, tokenizer; what follows from them for the settings.
    # Without --resume, one process alone checks that the results folder is free.
    checkpoint = None
    if not run.dry_run and (world.rank == 0 or run.resume):
        checkpoint = checkpoint_to_resume(run)
    inputs = read_inputs(arguments.data, model, checkpoint)
    if checkpoint is not None:
        check_unchanged(to_values(model), checkpoint)  # before the lengths, which depend on the model's positions
    arguments = arguments.with_lengths_of(inputs.config)
    optimization = with_batch_shapes(arguments.optimization, world.on_gpu, checkpoint)
    if checkpoint is not None and optimization.auto_batch_size:
        optimization = with_batches_of(optimization, checkpoint)
    arguments = replace(arguments, optimization=optimization)
    if checkpoint is not None:
        check_unchanged(arguments.to_dict(), checkpoint)
    check_strategy(arguments.processes, inputs.config, world.on_gpu)
    check_dropout(optimization.r_drop, inputs.config)
    check_bertscore(arguments.validation)

    # The searches to come: an impossible setting is refused now.
    if arguments.validation.eval_beams > 0:
        check_call(inputs.config, validation_search(arguments.validation))
    if inputs.test is not None:
        check_call(inputs.config, final_search(arguments.validation, inputs.config))
    notes = [] if amp_backend is None else [amp_backend]
    if inputs.new_tokens is not None:
        notes += inputs.new_tokens.remarks
        if model.freeze_embeds:
            notes.append("--add_tokens: the new embeddings are frozen, as all are; --no-freeze_embeds trains them")
    if inputs.test_files is None and arguments.data.task == "summarization":
        notes.append(f"{arguments.data.data_dir}: has no test split, so the evaluation after the training is left out")
    return Decision(arguments, world, checkpoint, inputs, notes)


def check_dropout(r_drop: float, config: BartConfig) -> None:
    """Raise InputError if R-Drop is asked for and nothing is dropped."""
    if r_drop > 0 and config.dropout == config.attention_dropout == config.activation_dropout == 0:
        raise InputError(
            f"--r_drop {r_drop:g}: without dropout both predictions of a target are the same; give --dropout 0.1, or"
            " leave out --r_drop"
        )


def build(decision: Decision, lock: FolderLock) -> Training | None:
    """Make the model, the tokens, the results folder and the trainer; None after a dry run."""
    arguments, world, inputs = decision.arguments, decision.world, decision.inputs
    optimization, run = arguments.optimization, arguments.run
    notes = list(decision.notes)
    apply_matmul_precision(arguments.precision.name)

    # The model. Random weights, too, are the same in all processes; then dropout differs between them.
    pl.seed_everything(optimization.seed, verbose=False)
    model = build_model(arguments.model, inputs, decision.checkpoint)
    if arguments.model.lora is not None:
        notes.append(add_adapters(model, arguments.model, arguments.precision.is_mixed))
    if arguments.model.compile:
        why_not_compiled = compile_where_possible(model, world.on_gpu)
        notes += [] if why_not_compiled is None else [why_not_compiled]
    if world.rank > 0:
        pl.seed_everything(optimization.seed + world.rank, verbose=False)

    # The tokens, and their batches.
    tokenized = tokenize_inputs(arguments.data, optimization, inputs, world)
    if optimization.auto_batch_size and decision.checkpoint is None:
        optimization, tokenized.sampler = fit_batch(
            optimization, arguments.precision, arguments.processes.strategy, model, tokenized.sampler, world
        )
        arguments = replace(arguments, optimization=optimization)

    # The module, and how it is computed; that is all that a dry run needs.
    flags, validation = arguments.to_dict(), arguments.validation
    module = SummarizationModule(
        model, optimization, validation, tokenized.total_steps, inputs.tokenizer, tokenized.val_references, flags
    )
    trainer_kwargs = shared_trainer_kwargs(
        arguments.precision,
        arguments.processes,
        optimization.gradient_accumulation_steps,
        inputs.config,
        world,
    )
    if run.dry_run:
        lines = dry_run(module, tokenized, trainer_kwargs, validation, run, arguments.data.num_workers, world)
        if world.rank == 0:
            print("\n".join([*short_report(data_report(arguments.data, inputs, tokenized)), *lines]))
            print("This was a dry run: nothing was trained, and nothing was written to --output_dir.")
        return None

    # The results folder.
    folder = Path(run.output_dir)
    if decision.checkpoint is not None:
        check_steps(tokenized.total_steps, decision.checkpoint)
    if world.rank == 0:
        if run.check_disk_space:
            check_disk_space(folder, model, optimization.optimizer, run.save_top_k, run.average_checkpoints)
        open_run_folder(run, flags, decision.checkpoint, lock)
        write_run_description(folder, flags, inputs, tokenized, model)
        for note in notes:
            print(note, flush=True)
        record_data_report(folder, data_report(arguments.data, inputs, tokenized))

    # The trainer and the loaders.
    if world.on_gpu and arguments.processes.cpu_affinity:
        bind_to_gpu_cores(local_process_rank())  # after the tokens, which are prepared on all cores
    scales_loss, with_divergence = arguments.precision.scales_loss, optimization.r_drop > 0
    callbacks = build_callbacks(run, validation, tokenized, scales_loss, with_divergence)
    trainer = build_trainer(trainer_kwargs, tokenized, validation, folder, callbacks, build_loggers(run, flags))
    workers, pin_memory = arguments.data.num_workers, world.on_gpu
    checksum = tokenized.train.examples.checksum()
    return Training(
        module,
        trainer,
        TrainingLoader(tokenized.train, tokenized.sampler, tokenized.total_steps, workers, pin_memory, checksum),
        validation_loader(
            tokenized.val,
            validation.eval_batch_size,
            world.processes,
            world.rank,
            workers,
            pin_memory,
            tokenized.sampler.multiples,
        ),
    )


def build_model(settings: ModelSettings, inputs: RawTexts, checkpoint: Path | None) -> BartForConditionalGeneration:
    """Make the model to start from, in training mode and with its frozen parts frozen."""
    config, new_tokens = inputs.config, inputs.new_tokens
    before = config if new_tokens is None else config.copy(vocab_size=new_tokens.vocab_size)
    if checkpoint is not None or settings.model_name_or_path == "scratch":
        model = BartForConditionalGeneration(before)  # the trainer reads a checkpoint's weights
    else:
        model = BartForConditionalGeneration.from_pretrained(
            settings.model_name_or_path, before, settings.max_positions, settings.allow_non_finite
        )
    if new_tokens is not None:
        grow_vocabulary(model, config.vocab_size, new_tokens.pieces)
    more_positions = settings.max_positions is not None
    freeze(model.train(), settings.freeze_embeds, settings.freeze_encoder, trains_positions=more_positions)
    if settings.gradient_checkpointing:
        model.enable_gradient_checkpointing()
    return model


def train(decision: Decision, training: Training) -> None:
    """Take all steps. Raises OutOfMemory and LimitReached, which name the flags, and Interrupted after a signal."""
    trainer = training.trainer
    try:
        with (
            worker_death_named(decision.arguments.data.num_workers),
            out_of_memory_as(
                "out of memory: lower --train_batch_size and raise --gradient_accumulation_steps as much, or give "
                "--auto_batch_size or --gradient_checkpointing; if it was in validation, lower --eval_batch_size"
            ),
        ):
            trainer.fit(
                training.module,
                training.train_loader,
                training.val_loader,
                ckpt_path=decision.checkpoint,
                weights_only=True,  # tensors and plain data are unpickled, nothing else; all state is restored
            )
    except Interrupted:
        if decision.world.rank == 0 and trainer.checkpoint_callback.last_saved_step == trainer.global_step > 0:
            flags = with_argument_names(f"--output_dir {decision.arguments.run.output_dir}") + " and --resume"
            print(f"interrupted: saved at step {trainer.global_step}; the same command with {flags} continues it")
        raise


def finish(decision: Decision, training: Training) -> None:
    """Write and evaluate the best model and, with --average_checkpoints, the mean of the last checkpoints."""
    folder, saver = Path(decision.arguments.run.output_dir), training.trainer.checkpoint_callback
    best, has_trained = saver.best_checkpoint(), saver.last_saved_step > 0
    model = BartForConditionalGeneration.from_pretrained(best)
    if decision.arguments.model.lora is not None:
        save_adapter(best, decision.arguments.model, folder / ADAPTER_FOLDER)
    write_and_evaluate(decision, model, folder / BEST_MODEL_FOLDER, folder, has_trained)
    if decision.inputs.test is None:
        write_page(folder)
    if decision.arguments.run.average_checkpoints > 0:
        del model  # so that there is room for the other one
        averaged = average_checkpoints(saver, best, partial(_validate, decision, training), folder)
        if averaged is not None:
            results = folder / AVERAGED_RESULTS_FOLDER
            write_and_evaluate(decision, averaged, folder / AVERAGED_MODEL_FOLDER, results, has_trained)


def _validate(decision: Decision, training: Training, model: BartForConditionalGeneration) -> dict[str, float]:
    """Validate a model on the whole validation split, in this process."""
    loader = validation_loader(
        training.val_loader.dataset,
        decision.arguments.validation.eval_batch_size,
        processes=1,
        rank=0,
        num_workers=decision.arguments.data.num_workers,
        pin_memory=decision.world.on_gpu,
        multiples=training.train_loader.sampler.multiples,
    )
    return validate_alone(model, training.module, loader, decision.arguments.precision, decision.world.on_gpu)


def write_and_evaluate(
    decision: Decision, model: BartForConditionalGeneration, model_folder: Path, folder: Path, has_trained: bool
) -> None:
    """Write a model as a Hugging Face folder and, unless --n_test is 0 or there is none, evaluate it on the test split.

    scripts/run_summarization.sh gives --n_test 0, and evaluates by run_eval.py.

    Args:
        model_folder: for the model.
        folder: for the evaluation.
        has_trained: whether there were steps; else the training had ended before, and its evaluation may go on.
    """
    arguments, inputs, validation = decision.arguments, decision.inputs, decision.arguments.validation
    save_model(model, inputs.tokenizer, model_folder)
    if has_trained:
        delete_journals(folder, "test")
    if inputs.test is None:
        return

    settings = EvaluationSettings(
        split="test",
        prefix=inputs.config.prefix,
        batch_size=BatchSize(validation.eval_batch_size),
        max_source_length=arguments.data.max_source_length,
        long_documents=validation.long_documents,
        search=final_search(validation, inputs.config),
        scoring=ScoringSettings.of_flags(validation),
        seed=arguments.optimization.seed,
        resume=arguments.run.resume,
        discard_other_journal=True,  # --resume is that of the training, which is done
        computation=computation(model, arguments.precision.name),
    )
    precision = arguments.precision.name
    facts = {"model": str(model_folder), "precision": precision, "data_dir": arguments.data.data_dir}
    facts |= divided_fact(arguments.data.split)
    device = "cuda" if decision.world.on_gpu else "cpu"
    model.to(device, evaluation_dtype(precision)).prepack()
    print_result(evaluate_and_write(model, inputs.tokenizer, inputs.test, settings, folder, facts), folder)


def print_data_report(
    data: DataSettings,
    model: ModelSettings,
    optimization: OptimizationSettings,
    validation: ValidationSettings,
    processes: DistributedSettings,
) -> None:
    """Print what the data are like; needs neither weights, nor the GPUs, nor a results folder."""
    _quieten_libraries()
    if process_rank() > 0:
        return
    planned = (processes.gpus or 1) * (processes.num_nodes or 1)
    world = WorldInfo(on_gpu=False, processes=max(planned, process_count()), rank=0)
    inputs = read_inputs(data, model, checkpoint=None)
    data = data.with_lengths_of(inputs.config)
    validation.with_longest_summary(data.max_target_length, inputs.config)  # refused here as by the training
    tokenized = tokenize_inputs(data, optimization, inputs, world)
    for remark in inputs.new_tokens.remarks if inputs.new_tokens is not None else []:
        print(remark)
    print("\n".join(full_report(data_report(data, inputs, tokenized, reads_again=True))))


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
