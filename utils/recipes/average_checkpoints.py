"""The mean of a training's last checkpoints, validated beside the best one: --average_checkpoints."""

from collections.abc import Callable
from pathlib import Path

from bart.modeling.modeling_bart import BartForConditionalGeneration

from ..checkpoint.average import averaged_model
from ..checkpoint.checkpoint_io import checkpoint_step
from ..io.atomic_files import make_folder
from ..io.json_files import write_json
from ..io.run_files import AVERAGE_FILE, AVERAGED_RESULTS_FOLDER
from ..training.callbacks.checkpoint_saver import CheckpointSaver
from ..training.callbacks.early_stopping import is_better

Validate = Callable[[BartForConditionalGeneration], dict[str, float]]


def average_checkpoints(
    saver: CheckpointSaver, best: Path, validate: Validate, folder: Path
) -> BartForConditionalGeneration | None:
    """Average the last checkpoints, write and print how the mean compares with the best, and return it.

    Args:
        saver: of the training that has ended.
        best: the best checkpoint.
        validate: computes the figures of a validation.
        folder: the results folder.

    Returns:
        The averaged model; None if no checkpoint is there to average, which is printed.
    """
    paths = saver.last_validated()
    if not paths:
        print("--average_checkpoints: no validation has left a checkpoint to average; best_tfmr is all there is")
        return None
    model = averaged_model(paths)
    metrics = validate(model)

    # The comparison, by the metric that has chosen the best.
    metric, steps = saver.metric, [checkpoint_step(path) for path in paths]
    value, of_best = metrics[metric], saver.value_of(best)
    better = None if of_best is None else "averaged" if is_better(metric, value, of_best) else "best"
    make_folder(folder / AVERAGED_RESULTS_FOLDER, "--output_dir")
    write_json(
        folder / AVERAGED_RESULTS_FOLDER / AVERAGE_FILE,
        {
            "asked_for": saver.average,
            "averaged_steps": steps,
            "best_step": checkpoint_step(best),
            "metric": metric,
            "best": of_best,
            "averaged": value,
            "better": better,
            "validation": metrics,  # of the average
        },
    )
    fewer = f" ({len(steps)} instead of {saver.average})" if len(steps) < saver.average else ""
    print(f"averaged the checkpoints of steps {', '.join(map(str, steps))}{fewer}")
    if of_best is None:
        print(f"validation {metric}: averaged {value:.6g}; that of step {checkpoint_step(best)} is not known")
    else:
        verdict = "the average is better" if better == "averaged" else "the average is not better"
        both = f"best (step {checkpoint_step(best)}) {of_best:.6g}, averaged {value:.6g}"
        print(f"validation {metric}: {both}; {verdict}")
    return model
