"""Run a program of a checkout, and note which of its files one text passes. The rule is in count_structure.py.

python scripts/benchmark/trace_text.py CHECKOUT TASK.json

TASK.json holds ``program`` (finetune.py or run_eval.py), its ``arguments``, the ``texts`` and the token ``ids`` to look
for, and ``output``, the file that gets [[file, function, whether the file gave back], ...]. Nothing of this project is
imported, so that the checkout may be of any commit.
"""

import json
import runpy
import sys
import threading
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from inspect import CO_VARARGS, CO_VARKEYWORDS
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import numpy as np

STEP = {"finetune.py": "training_step", "run_eval.py": "generate"}  # within the first call of it, any tensor counts
ENDS_WITH = {"finetune.py": None, "run_eval.py": "rouge.py"}  # the file whose last return is the end; None: the step's
_DEPTH = 3  # of containers in containers
_MOST_ITEMS = 100_000  # of a container or an array that is looked into


class Tracer:
    """A profile function that notes a file when a function of it is given, or gives back, what is looked for."""

    def __init__(self, checkout: Path, texts: list[str], ids: list[int], step: str, ends_with: str | None) -> None:
        self._prefix = f"{checkout}/"
        self._texts, self._bytes = texts, [text.encode() for text in texts]
        self._ids = np.array(ids, dtype=np.int64)
        self._step, self._ends_with = step, ends_with
        self._step_frame: FrameType | None = None
        self._is_past_step = False
        self._files: dict[CodeType, str | None] = {}
        self._noted: dict[tuple[str, bool], str] = {}  # in their order
        self._until = 0  # how many of them were noted when the end was reached

    @property
    def passed(self) -> list[tuple[str, str, bool]]:
        """The noted (file, function, whether it gave back) up to the end, in order."""
        noted = [(file, function, gave_back) for (file, gave_back), function in self._noted.items()]
        return noted[: self._until]

    def __call__(self, frame: FrameType, event: str, value: Any) -> None:
        file = self._file_of(frame.f_code) if event in ("call", "return") else None
        if file is None or (self._is_past_step and self._ends_with is None):
            return
        if event == "call" and frame.f_code.co_name == self._step and not self._is_past_step:
            self._step_frame = self._step_frame or frame
        key = (file, event == "return")
        values = [value] if event == "return" else _arguments(frame)
        if key not in self._noted and self._leaves(frame, file) and any(map(self._holds, values)):
            self._noted[key] = frame.f_code.co_name
        if event == "return" and frame is self._step_frame:
            self._step_frame, self._is_past_step = None, True
            self._until = len(self._noted)
        if event == "return" and Path(file).name == self._ends_with:
            self._until = len(self._noted)

    def _leaves(self, frame: FrameType, file: str) -> bool:
        """Return False for a generator expression that its own file consumes: it gives nothing to others."""
        consumer = frame.f_back
        is_expression = frame.f_code.co_name == "<genexpr>"
        return not is_expression or consumer is None or self._file_of(consumer.f_code) != file

    def _file_of(self, code: CodeType) -> str | None:
        """Return the file of a function within the checkout; None for all others, and for a module itself."""
        if code not in self._files:
            path = code.co_filename
            is_ours = path.startswith(self._prefix) and "/site-packages/" not in path and code.co_name != "<module>"
            self._files[code] = path.removeprefix(self._prefix) if is_ours else None
        return self._files[code]

    def _holds(self, value: Any, depth: int = _DEPTH) -> bool:
        """Return whether a value is, or contains, what is looked for."""
        tensor_class = getattr(sys.modules.get("torch"), "Tensor", ())
        if isinstance(value, str):
            return any(text in value for text in self._texts)
        if isinstance(value, bytes):
            return any(text in value for text in self._bytes)
        if isinstance(value, tensor_class):
            if self._step_frame is not None:
                return True
            return not value.is_floating_point() and self._has_ids(value.detach().cpu().numpy())
        if isinstance(value, np.ndarray):
            return value.dtype.kind in "iu" and self._has_ids(value)
        if depth == 0:
            return False
        if is_dataclass(value) and not isinstance(value, type):
            return any(self._holds(getattr(value, field.name, None), depth - 1) for field in fields(value))
        items = list(value.values()) if isinstance(value, Mapping) else value
        if not isinstance(items, list | tuple) or len(items) > _MOST_ITEMS:
            return False
        if items and all(isinstance(item, int) for item in items):
            return self._has_ids(np.array(items))
        return any(self._holds(item, depth - 1) for item in items)

    def _has_ids(self, values: np.ndarray) -> bool:
        """Return whether the ids stand side by side in it."""
        count = len(self._ids)
        if not count <= values.size <= _MOST_ITEMS or values.dtype.kind not in "iu":
            return False
        windows = np.lib.stride_tricks.sliding_window_view(values.reshape(-1), count)
        return bool((windows == self._ids).all(axis=1).any())


def _arguments(frame: FrameType) -> list[Any]:
    code = frame.f_code
    has_rest = bool(code.co_flags & CO_VARARGS) + bool(code.co_flags & CO_VARKEYWORDS)
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount + has_rest]
    return [frame.f_locals.get(name) for name in names]


def trace(checkout: Path, task: dict[str, Any]) -> None:
    """Run the program to its end, and write what was noted even if it fails."""
    program = task["program"]
    tracer = Tracer(checkout, task["texts"], task["ids"], STEP[program], ENDS_WITH[program])
    sys.path[0] = str(checkout)
    sys.argv = [str(checkout / program), *task["arguments"]]
    threading.setprofile(tracer)
    sys.setprofile(tracer)
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    finally:
        sys.setprofile(None)
        Path(task["output"]).write_text(json.dumps(tracer.passed))


if __name__ == "__main__":
    trace(Path(sys.argv[1]).resolve(), json.loads(Path(sys.argv[2]).read_text()))
