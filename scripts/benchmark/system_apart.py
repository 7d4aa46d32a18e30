"""Systems of compare_generation.py in processes of their own, and how a system's work is divided and timed."""

import multiprocessing
import time
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from scripts.benchmark.generation_work import CompareArguments
from utils.runtime.malloc import keep_freed_memory
from utils.runtime.processor import processor_cores

if TYPE_CHECKING:
    from scripts.benchmark.generation_systems import Search, System


class SystemApart:
    """A system in a process of its own, undisturbed by the threads and memory of the others."""

    def __init__(self, name: str, folder: Path, precision: str, arguments: CompareArguments) -> None:
        """Start the process. Raises what the system raises if it cannot be made."""
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        keep = name in arguments.keep_freed_memory.split(",")
        self._process = context.Process(
            target=_serve,
            args=(theirs, name, folder, precision, arguments.device, arguments.threads, keep),
            daemon=True,
        )
        self._process.start()
        theirs.close()
        answer = self._connection.recv()
        if isinstance(answer, Exception):
            raise answer
        self.name: str = answer

    def generate_all(
        self, sources: Sequence[np.ndarray], search: "Search", batch_size: int
    ) -> tuple[list[list[int]], float]:
        self._connection.send((sources, search, batch_size))
        answer: tuple[list[list[int]], float] = self._connection.recv()
        return answer

    def close(self) -> None:
        self._connection.close()  # which ends it
        self._process.join()


def _serve(
    connection: Connection, name: str, folder: Path, precision: str, device: str, threads: int, keep: bool
) -> None:
    import torch

    from scripts.benchmark.generation_systems import SYSTEMS

    if keep and device == "cpu":
        keep_freed_memory()
    torch.set_num_threads(threads or processor_cores())
    try:
        system = SYSTEMS[name](folder, precision, device)
    except (ImportError, KeyError, ValueError, RuntimeError) as error:
        connection.send(error)
        return
    connection.send(system.name)
    with suppress(EOFError):
        while True:
            connection.send(timed(system, *connection.recv()))


def timed(
    system: "System", sources: Sequence[np.ndarray], search: "Search", batch_size: int
) -> tuple[list[list[int]], float]:
    start = time.perf_counter()
    return generate_all(system, sources, search, batch_size), time.perf_counter() - start


def generate_all(system: "System", sources: Sequence[np.ndarray], search: "Search", batch_size: int) -> list[list[int]]:
    """Generate for all sources in batches of similar length, the longest first; return the outputs in order."""
    order = sorted(range(len(sources)), key=lambda row: -len(sources[row]))
    outputs: dict[int, list[int]] = {}
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        outputs |= zip(rows, system.generate([sources[row] for row in rows], search), strict=True)
    return [outputs[row] for row in range(len(sources))]
