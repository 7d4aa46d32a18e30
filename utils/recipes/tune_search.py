"""Tuning of the search: a validation split, a model and its configuration in; a configuration and a report out.

The test split is not opened. ``tune_search`` has three steps: it decides what to try, refusing whatever can be refused
before the model is loaded; it compares the settings by successive halving; it tests the finalists against the present
settings, and writes.
"""

import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from bart.configuration.configuration_bart import BartConfig
from bart.errors import InputError
from bart.generation.arguments import check_call
from bart.json_files import read_json_object
from bart.modeling.modeling_bart import BartForConditionalGeneration

from ..cli.options import changed_flags
from ..cli.tuning_args import GridSettings, TuningArguments
from ..data.tokens.encode import encode
from ..evaluation.rouge import mean_scores, scorer_description
from ..evaluation.scored_settings import ScoredSetting, SettingScorer
from ..evaluation.search_grid import (
    SearchSetting,
    default_values,
    draw_settings,
    present_setting,
    setting_name,
    settings_of_grid,
)
from ..evaluation.successive_halving import Rung, halve, nested_portions, plan_rungs
from ..evaluation.tuning_metric import metric_value
from ..evaluation.tuning_verdict import Verdict, judge, verdict_text
from ..io.atomic_files import make_folder
from ..io.folder_lock import FolderLock
from ..io.json_files import write_json
from ..io.run_files import SCORED_SETTINGS_FOLDER, TUNED_CONFIG_FILE, TUNING_FILE
from .evaluate import Decision, computation, decide, prepare

# Options of a tuning that are arguments of run_eval_summarization.sh, or for the validation split alone.
_BY_POSITION = {
    *("model", "config", "data_dir", "bs", "n_obs"),
    *("max_source_length", "max_target_length", "eval_max_gen_length"),
}


@dataclass(frozen=True)
class Plan:
    """What is to be compared, and in which rounds."""

    present: SearchSetting
    values: dict[str, list[Any]]  # of the grid
    settings: list[SearchSetting]  # drawn from the grid, without the present one
    rungs: list[Rung]


def tune_search(arguments: TuningArguments) -> None:
    """Tune as the command line says. Raises InputError if its input is unusable."""
    folder, cache = Path(arguments.save_path), Path(arguments.save_path) / SCORED_SETTINGS_FOLDER
    if cache.exists() and not arguments.resume:
        raise InputError(f"SAVE_PATH {folder}: holds a tuning; give --resume to go on with it, or another folder")
    decision = decide(arguments.as_evaluation())
    plan = make_plan(decision, arguments.grid)
    _print_plan(plan, len(decision.pairs))
    make_folder(folder, "SAVE_PATH")
    with FolderLock(folder, "SAVE_PATH"):
        tried, finalists = compare(decision, plan, arguments, cache)
        verdict = judge(tried[0], finalists, len(plan.settings), arguments.grid.metric)
        best = verdict.best if arguments.grid.write_best else verdict.winner
        chosen = plan.present if best is None else best.setting
        written = tuned_config(Path(arguments.model.config), decision, chosen)
        write_json(folder / TUNING_FILE, _report(decision, plan, arguments.grid, tried, verdict, chosen))
        write_json(folder / TUNED_CONFIG_FILE, written)
    print(verdict_text(verdict, arguments.grid.metric))
    kept = "the present setting is kept; --write_best writes the best one" if best is None else _described(chosen)
    print(f"written: {folder / TUNED_CONFIG_FILE} ({kept})")
    print(f"to evaluate the test split with it:\n{_evaluation_command(arguments, decision, chosen)}")


def make_plan(decision: Decision, grid: GridSettings) -> Plan:
    """Choose the settings and the rounds. Raises InputError if there are no targets, or if a setting is impossible."""
    config, pairs = decision.config, decision.pairs
    if pairs.targets is None:
        raise InputError("DATA_DIR: there is no val.target; the validation split needs targets to compare settings by")
    if config.min_new_tokens is not None:
        raise InputError(
            f"CONFIG: min_new_tokens={config.min_new_tokens} overrides min_length, which is tuned; give min_length"
        )
    search, present = decision.settings.search, present_setting(config)
    longest = check_call(config, search).max_length
    assert longest is not None
    given = grid.given_values()
    for length in given.get("min_length", []):
        if length >= longest:
            raise InputError(f"--min_length {length}: give less than the longest output, which has {longest} tokens")

    lengths = encode(pairs.targets, decision.tokenizer, config.max_position_embeddings, config.prefix).lengths
    values = {**default_values(present, lengths, longest), **given}
    settings = draw_settings(settings_of_grid(values, present), grid.budget, grid.seed)
    if not settings:
        raise InputError("--num_beams, --length_penalty ...: there is nothing to try but the present settings")
    for setting in settings:
        check_call(config, {**search, **setting})
    return Plan(present, values, settings, plan_rungs(len(settings), len(pairs), grid.smallest_subset))


def compare(
    decision: Decision, plan: Plan, arguments: TuningArguments, cache: Path
) -> tuple[list[ScoredSetting], list[ScoredSetting]]:
    """Score the settings in rounds, the present one in each of them.

    Returns:
        All settings, the present one first; and the finalists, the best one first.
    """
    model = BartForConditionalGeneration.from_pretrained(
        arguments.model.model, decision.config, allow_non_finite=arguments.model.allow_non_finite
    )
    settings = replace(decision.settings, computation=computation(model, arguments.precision.name))
    prepare(model, arguments.precision, decision.device)
    portions = nested_portions(plan.rungs, arguments.grid.seed)
    scorer = SettingScorer(model, decision.tokenizer, decision.pairs, portions, settings, cache)
    metric = arguments.grid.metric
    tried = [ScoredSetting(plan.present), *map(ScoredSetting, plan.settings)]

    def score(number: int, survivors: Sequence[ScoredSetting]) -> list[float]:
        taking_part = [tried[0], *survivors]
        print(f"round {number + 1} of {len(plan.rungs)}: {len(survivors)} settings and the present one", flush=True)
        for scored in taking_part:
            scorer.add_portion(scored, number)
            value = metric_value(metric, scored.scores)
            print(f"{_described(scored.setting)}: {metric} {value:.2f} of {len(scored.scores):,} examples", flush=True)
        return [metric_value(metric, scored.scores) for scored in survivors]

    return tried, halve(tried[1:], plan.rungs, score)


def tuned_config(path: Path, decision: Decision, chosen: SearchSetting) -> dict[str, Any]:
    """Return the content of the configuration file with the chosen settings.

    A limit on the length of outputs that flags have changed goes into it, too. Raises InputError if BartConfig refuses
    it.
    """
    present = decision.config.search_settings()
    search = {**decision.settings.search, **chosen}
    changed = {name: value for name, value in search.items() if present[name] != value}
    content = {**read_json_object(path), **changed}
    BartConfig(**content)
    return content


def _print_plan(plan: Plan, examples: int) -> None:
    combinations = len(settings_of_grid(plan.values, plan.present))
    rounds = ", then ".join(f"{rung.settings:,} settings on {rung.rows:,}" for rung in plan.rungs)
    print(f"validation split: {examples:,} examples; grid: {combinations:,} settings beside the present one")
    print(f"rounds: {rounds}", flush=True)


def _described(setting: SearchSetting) -> str:
    return setting_name(setting).replace("=", " ").replace(",", ", ")


def _evaluation_command(arguments: TuningArguments, decision: Decision, chosen: SearchSetting) -> str:
    """Return the command that evaluates the test split: EVAL_BEAMS and MAX_TARGET_LEN override the configuration."""
    precision, settings = arguments.precision, decision.settings
    groups = (arguments.model, arguments.texts, arguments.batches)
    quantization = [] if precision.quantization is None else ["--quantization", precision.quantization]
    words = [
        arguments.model.model,
        arguments.batches.bs,
        0 if decision.device == "cpu" else 1,
        "fp32" if quantization else precision.name,
        chosen["num_beams"],
        settings.max_source_length,
        settings.search["max_length"],
        arguments.texts.data_dir,
        Path(arguments.save_path) / TUNED_CONFIG_FILE,
        *quantization,
        *(word for group in groups for word in changed_flags(group, _BY_POSITION)),
    ]
    return f"bash scripts/run_eval_summarization.sh {shlex.join(map(str, words))}"


def _report(
    decision: Decision,
    plan: Plan,
    grid: GridSettings,
    tried: Sequence[ScoredSetting],
    verdict: Verdict,
    chosen: SearchSetting,
) -> dict[str, Any]:
    """Return what was tried, and how it scored."""
    scoring = decision.settings.scoring
    return {
        "metric": grid.metric,
        "split": decision.settings.split,
        "n_obs": len(decision.pairs),
        "grid": plan.values,
        "rounds": [asdict(rung) for rung in plan.rungs],
        "settings": [
            {
                "setting": scored.setting,
                "examples": len(scored.scores),
                grid.metric: metric_value(grid.metric, scored.scores),
                "rouge": mean_scores(scored.scores),
                "seconds": scored.seconds,
            }
            for scored in tried
        ],
        **verdict.to_dict(),
        "chosen": chosen,
        "search": {**decision.config.search_settings(), **decision.settings.search, **chosen},
        "scorer": scorer_description(scoring.splitter, scoring.tokenizer),
        **decision.facts,
    }
