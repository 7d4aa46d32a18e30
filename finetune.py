"""Fine-tune BART for summarization, keep the best model, and evaluate it on the test split."""

import logging
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils.cli.args import TrainingArguments, output_limit
from utils.cli.command_line import run_command, with_argument_names
from utils.runtime.signals import ToldToEnd

if TYPE_CHECKING:
    import pytorch_lightning as pl

    from bart.configuration.configuration_bart import BartConfig
    from bart.modeling.modeling_bart import BartForConditionalGeneration
    from utils.data.training_data import TrainingData, TrainingInputs
    from utils.io.folder_lock import FolderLock
    from utils.runtime.world import Placement

# Torch and Lightning take seconds to import, so the functions do it: --help and a wrong flag are answered at once.


def run(arguments: TrainingArguments) -> None:
    """Do what the command line asks for."""
    from utils.runtime.launcher import die_with_launcher, launch, this_command
    from utils.runtime.world import are_started, check_gpus

    die_with_launcher()
    if arguments.data_report:
        print_data_report(arguments)
    elif (arguments.gpus or 1) > 1 and not are_started():
        check_gpus(arguments.gpus)
        sys.exit(launch(this_command(), arguments.gpus))
    else:
        fine_tune(arguments)


def fine_tune(arguments: TrainingArguments) -> None:
    """Train as the command line says. Raises InputError, before anything expensive, where its input is unusable."""
    from utils.io.folder_lock import FolderLock
    from utils.runtime.world import choose_placement

    placement = choose_placement(arguments.gpus, arguments.num_nodes)
    writes = placement.rank == 0 and not arguments.dry_run
    with FolderLock(Path(arguments.output_dir), "--output_dir", writes) as lock:
        train_and_test(arguments, placement, lock)


def train_and_test(arguments: TrainingArguments, placement: "Placement", lock: "FolderLock") -> None:
    """The same, where ``lock`` keeps other runs out of the results folder."""
    import pytorch_lightning as pl
    import torch

    from bart.out_of_memory import out_of_memory_as
    from utils.checkpoint.disk_space import check_disk_space
    from utils.checkpoint.resume import check_steps
    from utils.checkpoint.run_folder import checkpoint_to_resume, open_run_folder
    from utils.data.batch_sampler import TrainingLoader
    from utils.data.examples import validation_loader
    from utils.data.report import data_report
    from utils.data.training_data import read_inputs, tokenize_inputs
    from utils.runtime.cpu_affinity import stay_near_gpu
    from utils.runtime.malloc import keep_freed_memory
    from utils.runtime.precision import apply_matmul_precision, check_precision
    from utils.runtime.world import leave_process_group, local_process_rank
    from utils.training.amp import choose_amp_backend
    from utils.training.batch_size_finder import fit_batch
    from utils.training.compilation import compile_where_possible
    from utils.training.loggers import check_loggers
    from utils.training.module import SummarizationModule
    from utils.training.run_description import describe_run, record_data_report
    from utils.training.strategies.select import check_strategy

    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)  # its import sets another level
    if placement.on_gpu:
        torch.cuda.set_device(local_process_rank())  # a trial comes before Lightning's own choice
    check_precision(arguments.precision, placement.on_gpu)
    check_loggers(arguments)
    if not placement.on_gpu:
        keep_freed_memory()
    amp_backend = choose_amp_backend(arguments, placement.processes)
    checkpoint = None
    if not arguments.dry_run and (placement.rank == 0 or arguments.resume):
        checkpoint = checkpoint_to_resume(arguments)
    inputs = read_inputs(arguments, checkpoint)
    check_strategy(arguments, inputs.config, placement.on_gpu)
    check_searches(arguments, inputs)
    apply_matmul_precision(arguments.precision)
    pl.seed_everything(arguments.seed, verbose=False)
    model = build_model(arguments, inputs, checkpoint)  # random weights, too, are the same in all processes
    why_not_compiled = compile_where_possible(model, placement.on_gpu) if arguments.compile else None
    if placement.rank > 0:
        pl.seed_everything(arguments.seed + placement.rank, verbose=False)  # dropout differs between them
    data = tokenize_inputs(arguments, inputs, placement)
    if arguments.auto_batch_size and checkpoint is None:
        data.order = fit_batch(arguments, model, data.order, placement)
    if arguments.dry_run:
        return rehearse(arguments, inputs, data, placement, model)
    if checkpoint is not None:
        check_steps(data.total_steps, checkpoint)
    if placement.rank == 0:
        if arguments.check_disk_space:
            check_disk_space(arguments, model)
        open_run_folder(arguments, checkpoint, lock)
        describe_run(arguments, inputs, data, model)
        if amp_backend is not None:
            print(amp_backend, flush=True)
        if why_not_compiled is not None:
            print(why_not_compiled, flush=True)
        record_data_report(arguments, data_report(arguments, inputs, data))

    if placement.on_gpu and arguments.cpu_affinity:
        stay_near_gpu(local_process_rank())  # after the tokens, which are prepared on all cores
    module = SummarizationModule(model, arguments, data.total_steps, inputs.tokenizer, data.val_references)
    trainer = build_trainer(arguments, inputs.config, data, placement)
    workers, pin_memory = arguments.num_workers, placement.on_gpu
    checksum = data.train.examples.checksum()
    train_loader = TrainingLoader(data.train, data.order, data.total_steps, workers, pin_memory, checksum)
    val_loader = validation_loader(
        data.val, arguments.eval_batch_size, placement.processes, placement.rank, workers, pin_memory
    )
    try:
        with out_of_memory_as(
            "out of memory: lower --train_batch_size and raise --gradient_accumulation_steps as much, or give "
            "--auto_batch_size or --gradient_checkpointing; if it was in validation, lower --eval_batch_size"
        ):
            trainer.fit(module, train_loader, val_loader, ckpt_path=checkpoint, weights_only=True)
    except ToldToEnd:
        if placement.rank == 0 and trainer.checkpoint_callback.last_saved_step == trainer.global_step > 0:
            flags = with_argument_names(f"--output_dir {arguments.output_dir}") + " and --resume"
            print(f"told to end: saved at step {trainer.global_step}; the same command with {flags} goes on")
        raise
    leave_process_group()
    if trainer.is_global_zero:
        finish(arguments, inputs, placement, trainer)


def print_data_report(arguments: TrainingArguments) -> None:
    """Say what the data are like; needs neither weights, nor the GPUs, nor a results folder."""
    from utils.data.report import data_report
    from utils.data.report_text import whole_report
    from utils.data.training_data import read_inputs, tokenize_inputs
    from utils.runtime.world import Placement, process_count, process_rank

    if process_rank() > 0:
        return
    processes = (arguments.gpus or 1) * (arguments.num_nodes or 1)
    placement = Placement(on_gpu=False, processes=max(processes, process_count()), rank=0)
    inputs = read_inputs(arguments, checkpoint=None)
    print("\n".join(whole_report(data_report(arguments, inputs, tokenize_inputs(arguments, inputs, placement)))))


def rehearse(
    arguments: TrainingArguments,
    inputs: "TrainingInputs",
    data: "TrainingData",
    placement: "Placement",
    model: "BartForConditionalGeneration",
) -> None:
    """Take a few steps and say what all of them will take. Writes to no results folder."""
    import tempfile

    import pytorch_lightning as pl

    from bart.out_of_memory import out_of_memory_as
    from utils.data.batch_sampler import planned_loader
    from utils.data.examples import validation_plans
    from utils.data.report import data_report
    from utils.data.report_text import short_report
    from utils.training.callbacks.step_timer import StepClock
    from utils.training.dry_run import Measured, forecast, longest_and_middling, plans_of, sizes_of, steps_to_try
    from utils.training.module import SummarizationModule

    steps, clock = steps_to_try(data.order), StepClock()
    module = SummarizationModule(model, arguments, data.total_steps, inputs.tokenizer, data.val_references)
    val_plans = validation_plans(data.val, arguments.eval_batch_size, placement.processes, placement.rank)
    train_loader, val_loader = (
        planned_loader(dataset, plans, arguments.num_workers, placement.on_gpu)
        for dataset, plans in (
            (data.train, plans_of(data.order, steps)),
            (data.val, longest_and_middling(val_plans)),
        )
    )
    with tempfile.TemporaryDirectory() as scratch:
        trainer = pl.Trainer(
            **where_to_train(arguments, inputs.config, placement),
            max_steps=len(steps),
            callbacks=[clock],
            logger=False,
            enable_checkpointing=False,
            num_sanity_val_steps=0,
            default_root_dir=scratch,
        )
        with out_of_memory_as(
            "--dry_run: the largest batches need more memory than there is; lower --train_batch_size or "
            "--eval_batch_size and raise --gradient_accumulation_steps, or give a lower --max_source_length"
        ):
            trainer.fit(module, train_loader, val_loader)
    measured = Measured(clock.step_seconds, clock.validation_seconds, *sizes_of(module.model, trainer.optimizers[0]))
    if placement.rank == 0:
        lines = forecast(arguments, data, len(val_plans), placement.on_gpu, measured)
        print("\n".join([*short_report(data_report(arguments, inputs, data)), *lines]))
        print("This was a dry run: nothing was trained, and nothing was written to --output_dir.")


def build_model(
    arguments: TrainingArguments, inputs: "TrainingInputs", checkpoint: Path | None
) -> "BartForConditionalGeneration":
    """The model to start from, in training mode, what is to be frozen frozen."""
    from bart.modeling.modeling_bart import BartForConditionalGeneration
    from utils.training.optimization import freeze

    if checkpoint is not None or arguments.model_name_or_path == "scratch":
        model = BartForConditionalGeneration(inputs.config)  # the trainer reads a checkpoint's weights
    else:
        model = BartForConditionalGeneration.from_pretrained(arguments.model_name_or_path, inputs.config)
    freeze(model.train(), arguments.freeze_embeds, arguments.freeze_encoder)
    if arguments.gradient_checkpointing:
        model.recompute_layers()
    return model


def build_trainer(
    arguments: TrainingArguments, config: "BartConfig", data: "TrainingData", placement: "Placement"
) -> "pl.Trainer":
    """Lightning's trainer for one long epoch of ``data.total_steps`` optimizer steps."""
    import pytorch_lightning as pl

    from utils.checkpoint.checkpoint_io import AtomicCheckpointIO
    from utils.checkpoint.run_folder import next_log_version
    from utils.io.run_files import LOGS_FOLDER, METRICS_FILE
    from utils.training.amp import scales_loss
    from utils.training.callbacks.checkpoint_saver import CheckpointSaver
    from utils.training.callbacks.data_consistency import SameData
    from utils.training.callbacks.early_stopping import EarlyStopping, LastValidation, RandomStates
    from utils.training.callbacks.metrics_history import TrainingHistory
    from utils.training.callbacks.non_finite import FiniteLoss
    from utils.training.callbacks.progress import Progress
    from utils.training.loggers import build_loggers

    folder = Path(arguments.output_dir)
    steps_per_epoch = data.order.steps_per_epoch
    history = TrainingHistory(folder / METRICS_FILE, arguments.log_every_n_steps, steps_per_epoch)
    save_every = arguments.save_checkpoint_steps or max(1, data.total_steps // 20)
    min_steps = arguments.min_epochs * steps_per_epoch
    log_version = next_log_version(folder)
    interval = data.order.validation_interval(arguments.val_check_interval)
    where = where_to_train(arguments, config, placement)
    where["plugins"].append(AtomicCheckpointIO())
    return pl.Trainer(
        **where,
        max_steps=data.total_steps,
        val_check_interval=min(interval, data.total_steps * arguments.gradient_accumulation_steps),
        num_sanity_val_steps=arguments.num_sanity_val_steps,
        callbacks=[
            SameData(data.train.examples.checksum()),
            RandomStates(),
            FiniteLoss(data.train.examples, arguments.log_every_n_steps, scales_loss(arguments)),
            history,
            LastValidation(),
            EarlyStopping(arguments.val_metric, arguments.early_stopping_patience, min_steps),
            Progress(history),
            CheckpointSaver(folder, save_every, arguments.save_top_k, arguments.val_metric, steps_per_epoch),
        ],
        logger=build_loggers(arguments, LOGS_FOLDER, log_version),
        default_root_dir=folder,
    )


def where_to_train(arguments: TrainingArguments, config: "BartConfig", placement: "Placement") -> dict[str, Any]:
    """The arguments of Lightning's trainer that say where and how it computes: a training's and a dry run's."""
    from pytorch_lightning.plugins.environments import LightningEnvironment, TorchElasticEnvironment

    from utils.training.precision_plugin import precision_plugin
    from utils.training.strategies.select import training_strategy

    # Named, lest Lightning finds SLURM: it would ask for one SLURM task per process, and re-queue jobs by itself.
    environment = TorchElasticEnvironment() if TorchElasticEnvironment.detect() else LightningEnvironment()
    return {
        "accelerator": "gpu" if placement.on_gpu else "cpu",
        "devices": placement.processes_per_machine,
        "num_nodes": placement.machines,
        "strategy": training_strategy(arguments, config, placement.processes),
        "plugins": [environment, precision_plugin(arguments, "cuda" if placement.on_gpu else "cpu")],
        "max_epochs": 1,
        "accumulate_grad_batches": arguments.gradient_accumulation_steps,
        "use_distributed_sampler": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        # Shards that were gathered in inference mode cannot be trained with afterwards.
        "inference_mode": arguments.strategy != "fsdp",
    }


def check_searches(arguments: TrainingArguments, inputs: "TrainingInputs") -> None:
    """Raise InputError, before the training, where the configuration's search settings do not go with the flags."""
    from bart.generation.arguments import check_call
    from utils.training.module import validation_search

    if arguments.eval_beams > 0:
        check_call(inputs.config, validation_search(arguments))
    if inputs.test is not None:
        check_call(inputs.config, final_search(arguments, inputs.config))


def final_search(arguments: TrainingArguments, config: "BartConfig") -> dict[str, Any]:
    """What the search of the test split is told beyond the configuration."""
    beams = arguments.eval_beams or config.num_beams
    return {**output_limit(arguments.eval_max_gen_length), "num_beams": beams}


def finish(
    arguments: TrainingArguments, inputs: "TrainingInputs", placement: "Placement", trainer: "pl.Trainer"
) -> None:
    """Write the best model as a Hugging Face folder and evaluate it on the test split."""
    from bart.modeling.modeling_bart import BartForConditionalGeneration
    from utils.checkpoint.export import save_model
    from utils.evaluation.evaluate import EvaluationSettings, evaluate, result_text
    from utils.evaluation.generate import BatchSize
    from utils.io.run_files import BEST_MODEL_FOLDER, PAGE_FILE
    from utils.reporting.results_page.page import write_page
    from utils.runtime.precision import evaluation_dtype

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
    best.to("cuda" if placement.on_gpu else "cpu", evaluation_dtype(arguments.precision)).pack()
    facts = {
        "model": str(folder / BEST_MODEL_FOLDER),
        "precision": arguments.precision,
        "data_dir": arguments.data_dir,
    }
    result = evaluate(best, inputs.tokenizer, inputs.test, settings, folder, facts)
    write_page(folder, result.report, result.examples)
    print(result_text(result.report))
    print(f"to look at in a browser: {folder / PAGE_FILE}")


def main() -> int:
    """Run the command line; returns the exit code."""
    warnings.filterwarnings("ignore", ".*does not have many workers")  # --num_workers is the user's to choose
    warnings.filterwarnings("ignore", ".*smaller than the logging interval")  # of Lightning's logging, not used here
    warnings.filterwarnings("ignore", "The `srun` command is available")  # where SLURM is, a job may still do without
    warnings.filterwarnings("ignore", ".*lr_scheduler.step.. before .optimizer.step")  # fp16 may skip the first steps
    warnings.filterwarnings("ignore", ".*optimizer.step... has been overridden")  # by apex
    warnings.filterwarnings("ignore", ".*LeafSpec.* is deprecated")  # between Lightning and torch
    return run_command(TrainingArguments, __doc__, run)


if __name__ == "__main__":
    sys.exit(main())
