"""A process that measures rows of a part, one after another.

python -m scripts.benchmark.gpu.worker DEVICE MODELS RESULTS

Each line of its standard input is a row as JSON: {"kind": ..., "settings": {...}}. It answers with lines on its
standard output: {"figures": {...}} as they become known, then {"outcome": "passed" or "failed" or "skipped",
"reason": ...}.
"""

import importlib
import json
import math
import os
import sys
import time
import traceback
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from scripts.benchmark.gpu.session import Session, Unfit

_PACKAGE = "scripts.benchmark.gpu"


def measure(session: Session, kind: str, settings: dict[str, Any]) -> dict[str, str | None]:
    """Measure a row; return its outcome and, if it did not pass, the reason.

    Args:
        kind: name of the function, ``module.function`` of this package or with another one.
    """
    module, _, function = kind.rpartition(".")
    try:
        # Imported here, since torch and Lightning take seconds, and not every row needs them.
        imported = importlib.import_module(module if "." in module else f"{_PACKAGE}.{module}")
        getattr(imported, function)(session, settings)
    except Unfit as reason:
        return {"outcome": "skipped", "reason": str(reason)}
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name and find_spec(error.name.partition(".")[0]) is None:
            return {"outcome": "skipped", "reason": f"needs {error.name}, which is not installed"}
        traceback.print_exc()
        return {"outcome": "failed", "reason": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}
    return {"outcome": "passed", "reason": None}


def to_json(value: Any) -> Any:
    """Round floats to five digits, and write those that are not finite as text, since JSON has none."""
    if isinstance(value, float):
        return float(f"{value:.5g}") if math.isfinite(value) else str(value)
    if isinstance(value, dict):
        return {name: to_json(entry) for name, entry in value.items()}
    return [to_json(entry) for entry in value] if isinstance(value, list) else value


def main(device: str, models: str, results: str) -> None:
    """Answer rows until the input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # keeps the output of trainers out of the answers

    def answer(content: dict[str, Any]) -> None:
        answers.write(json.dumps(content) + "\n")
        answers.flush()

    session = Session(device, Path(models), Path(results), lambda figures: answer({"figures": to_json(figures)}))
    for line in sys.stdin:
        row = json.loads(line)
        print(f"=== {time.strftime('%H:%M:%S')} {line.strip()}", file=sys.stderr, flush=True)
        answer(measure(session, row["kind"], row["settings"]))


if __name__ == "__main__":
    main(*sys.argv[1:])
