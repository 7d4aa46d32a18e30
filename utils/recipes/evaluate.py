"""An evaluation: a split and a model in; summaries, their scores and a page out.

``evaluate_model`` has two phases: it decides, refusing whatever can be refused before the model is loaded; then it
generates, scores and writes. The second one is also the end of a training.
"""

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from bart.checkpoints.weights import read_config, say_vocabulary
from bart.configuration.configuration_bart import BartConfig
from bart.configuration.generation_config import GenerationConfig
from bart.errors import InputError
from bart.generation.arguments import check_call
from bart.json_files import read_json_object
from bart.modeling.modeling_bart import BartForConditionalGeneration

from ..checkpoint.pretrained import load_tokenizer
from ..cli.evaluation_args import DeviceSettings, EvaluatedModel, EvaluationArguments, GenerationSettings
from ..cli.shared_args import output_limit, shares_of
from ..cli.training_args import ValidationSettings
from ..data.divided import read_split
from ..data.formats.tables import AskedColumns
from ..data.splits import Pairs, deranged
from ..evaluation.bertscore import check_bertscore
from ..evaluation.evaluate import EvaluationResult, EvaluationSettings, evaluate, result_text
from ..evaluation.generate import BatchSize
from ..evaluation.journal import delete_journals, weights_digest
from ..evaluation.rerank import Reranker
from ..evaluation.scoring import ScoringSettings
from ..io.atomic_files import make_folder
from ..io.folder_lock import FolderLock
from ..io.run_files import PAGE_FILE
from ..reporting.results_page.page import write_page
from ..runtime.cpu_affinity import bind_to_gpu_cores
from ..runtime.evaluation_group import EvaluationGroup, process_group
from ..runtime.gpu_memory import use_expandable_segments
from ..runtime.malloc import keep_freed_memory
from ..runtime.precision import apply_matmul_precision, check_precision, evaluation_dtype
from ..runtime.software import software
from ..runtime.world import local_process_count, local_process_rank, process_rank


@dataclass(frozen=True)
class Decision:
    """What is to be evaluated, and how."""

    pairs: Pairs
    config: BartConfig
    tokenizer: PreTrainedTokenizerBase
    settings: EvaluationSettings
    device: str
    facts: dict[str, Any]  # that go into the report as they are


def evaluate_model(arguments: EvaluationArguments) -> None:
    """Evaluate as the command line says. Raises InputError if its input is unusable."""
    decision = decide(arguments)
    folder = Path(arguments.save_path)
    make_folder(folder, "SAVE_PATH")
    with FolderLock(folder, "SAVE_PATH", process_rank() == 0), process_group(arguments.processes.timeout) as group:
        if not group.agree_on(decision.pairs.checksum()):
            data_dir = arguments.texts.data_dir
            raise InputError(f"DATA_DIR {data_dir}: the processes have read different texts; start again")
        if decision.device != "cpu" and arguments.processes.cpu_affinity:
            bind_to_gpu_cores(torch.device(decision.device).index)
        model = BartForConditionalGeneration.from_pretrained(
            arguments.model.model, decision.config, allow_non_finite=arguments.model.allow_non_finite
        )
        settings = replace(decision.settings, computation=computation(model, arguments.precision.name))
        prepare(model, arguments.precision, decision.device)
        result = evaluate_and_write(model, decision.tokenizer, decision.pairs, settings, folder, decision.facts, group)
    print_result(result, folder)


def decide(arguments: EvaluationArguments) -> Decision:
    """Read what an evaluation begins with. Raises InputError for all that can be refused before the model is loaded."""
    model, texts, precision = arguments.model, arguments.texts, arguments.precision

    # The machine.
    device = device_of_this_process(precision.device)
    if device == "cpu":
        keep_freed_memory()
    else:
        torch.cuda.set_device(device)
        use_expandable_segments()
    check_precision(precision.name, on_gpu=device != "cpu")
    if precision.quantization is not None and device != "cpu":
        raise InputError(f"--quantization {precision.quantization}: is for the CPU; on a GPU give --bf16 or --fp16")

    # The texts.
    columns = AskedColumns(texts.text_column, texts.summary_column)
    shares = shares_of(texts.split)
    pairs = read_split(texts.data_dir, texts.type_path, columns, shares, texts.n_obs, needs_targets=False)
    if texts.shuffle_sources:
        pairs = replace(pairs, sources=deranged(pairs.sources, texts.seed))

    # The model's configuration and tokenizer, and what follows from them for the settings.
    config = evaluated_config(model)
    arguments = arguments.with_lengths_of(config)
    tokenizer = load_tokenizer(model.tokenizer_name_or_path, model.model, config)
    generation = arguments.generation
    check_bertscore(generation)
    search = search_settings(generation, model, config)
    reranker = None
    if arguments.rerank.is_on:
        reranker = Reranker(config, search, arguments.rerank, keep_plain=True, tokenizer=generation.rouge_tokenizer)
    else:
        check_call(config, search)  # an impossible setting is refused now, not after the model is loaded
    settings = EvaluationSettings(
        split=texts.type_path,
        prefix=config.prefix if texts.prefix is None else texts.prefix,
        batch_size=BatchSize(generation.bs, generation.max_tokens_per_batch),
        warm_up=generation.warm_up,
        max_source_length=arguments.texts.max_source_length,
        long_documents=generation.long_documents,
        search=search,
        scoring=ScoringSettings.of_flags(generation),
        seed=texts.seed,
        resume=arguments.resume,
        discard_other_journal=arguments.discard_other_journal,
        reranker=reranker,
    )
    facts = {
        "model": model.model,
        "precision": precision.name,
        "shuffled_sources": texts.shuffle_sources,
        "seed": texts.seed,
        "data_dir": texts.data_dir,
        **divided_fact(texts.split),
        "command": sys.argv,
        **software(),
    }
    return Decision(pairs, config, tokenizer, settings, device, facts)


def divided_fact(split: str | None) -> dict[str, Any]:
    """Return what a report says of --split: the shares, if it is given."""
    return {} if split is None else {"data_split": split}


def computation(model: BartForConditionalGeneration, precision: str) -> dict[str, Any]:
    """Return what the summaries of a model, not yet prepared, depend on beside its configuration and the search."""
    return {"weights": weights_digest(model), "precision": precision}


def prepare(model: BartForConditionalGeneration, precision: DeviceSettings, device: str) -> None:
    """Bring a model onto its device, ready to generate."""
    apply_matmul_precision(precision.name)
    model.to(device, evaluation_dtype(precision.name)).prepack(precision.quantization)


def evaluate_and_write(
    model: BartForConditionalGeneration,
    tokenizer: PreTrainedTokenizerBase,
    pairs: Pairs,
    settings: EvaluationSettings,
    folder: Path,
    facts: dict[str, Any],
    group: EvaluationGroup | None = None,
) -> EvaluationResult | None:
    """Generate, score and write everything, results.html too; None in all processes but the first."""
    result = evaluate(model, tokenizer, pairs, settings, folder, facts, group)
    if result is not None and result.examples is not None:
        write_page(folder, result.report, result.examples)
        delete_journals(folder, settings.split)
    return result


def print_result(result: EvaluationResult | None, folder: Path) -> None:
    """Print the scores, and where the page is."""
    if result is not None:
        print(result_text(result.report))
        print(f"to look at in a browser: {folder / PAGE_FILE}")


def evaluated_config(model: EvaluatedModel) -> BartConfig:
    """Join the model's own shape and token ids (a distilled model has fewer layers) with CONFIG's prefix and search."""
    given, stored = BartConfig.from_json_file(model.config), read_config(model.model)
    say_vocabulary(model.model, stored, given)
    return stored.copy(**given.search_settings(), prefix=given.prefix)


def device_of_this_process(name: str) -> str:
    """The CPU, or this process's GPU. Raises InputError if a GPU is asked for and there is none."""
    present = torch.cuda.device_count()
    if name == "cpu" or (name == "auto" and present == 0):
        return "cpu"
    here = local_process_count()
    if present < here:
        raise InputError(f"--device cuda: {here} processes need a GPU each, and this machine has {present}")
    return f"cuda:{local_process_rank()}"


def final_search(validation: ValidationSettings, config: BartConfig) -> dict[str, Any]:
    """Return the search settings of a training's test split beyond the configuration."""
    return {**output_limit(validation.eval_max_gen_length), "num_beams": validation.eval_beams or config.num_beams}


def search_settings(generation: GenerationSettings, model: EvaluatedModel, config: BartConfig) -> dict[str, Any]:
    """Return the search settings beyond the configuration: those of the task, overridden by flags."""
    search = {
        **(task_settings(Path(model.config), generation.task) if generation.task else {}),
        **generation.search,
        **({} if generation.eval_beams is None else {"num_beams": generation.eval_beams}),
    }
    if "max_new_tokens" not in generation.search:
        search |= output_limit(generation.eval_max_gen_length)
    return search


def task_settings(config_path: Path, task: str) -> dict[str, Any]:
    """The search settings under ``task_specific_params`` of a configuration file, as published models have them."""
    tasks = read_json_object(config_path).get("task_specific_params") or {}
    if not isinstance(tasks, dict) or not all(isinstance(settings, dict) for settings in tasks.values()):
        raise InputError(f"--task {task}: {config_path}: task_specific_params does not have an object for each task")
    if task not in tasks:
        raise InputError(f"--task {task}: {config_path} has {', '.join(tasks) or 'no task_specific_params'}")
    return {name: value for name, value in tasks[task].items() if name in GenerationConfig.names()}
