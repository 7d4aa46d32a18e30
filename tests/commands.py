"""Run finetune.py and run_eval.py as processes that start quickly and can be killed.

Each command is a process of its own, forked from a server that has imported what takes seconds: multiprocessing's
forkserver. Everything else is as from a shell: the command line, the output, the exit code, the death by SIGKILL.
"""

import gc
import multiprocessing
import os
import runpy
import signal
import socket
import sys
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
_SLOW_IMPORTS = [  # of others alone: of this project a command imports everything itself, as from a shell
    *("pytorch_lightning", "pytorch_lightning.loggers", "torch.distributed.checkpoint.state_dict"),
    *("torch.utils.tensorboard", "transformers.models.bart.tokenization_bart", "nupunkt", "rouge_score.rouge_scorer"),
]
_LONGEST_SECONDS = 120


def start_process(target: Callable[..., None], *arguments: Any) -> BaseProcess:
    """Call a function in a process of the server, which the first call starts, with what it imports for all of them."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_SLOW_IMPORTS)
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # before the server starts: the same sums on any machine
    process = context.Process(target=target, args=arguments)
    process.start()
    return process


class Command:
    """A started command."""

    def __init__(
        self,
        script: str,
        arguments: list[str],
        log: Path,
        environment: dict[str, str] | None = None,
        folder: Path | None = None,
    ) -> None:
        """``log`` takes stdout and stderr; ``environment`` is added to this process's; it runs in ``folder``."""
        self.log = log
        self.log.write_text("")
        self.process = start_process(_run, script, arguments, str(log), environment or {}, str(folder or Path.cwd()))

    def wait(self) -> int:
        """The exit code; minus the signal where one ended it."""
        self.process.join(_LONGEST_SECONDS)
        assert self.process.exitcode is not None, f"still running: {self.output}"
        return self.process.exitcode

    @property
    def output(self) -> str:
        """What it has printed so far."""
        return self.log.read_text(encoding="utf-8")

    def wait_for(self, text: str) -> None:
        """Return once the output contains ``text``."""
        deadline = time.monotonic() + _LONGEST_SECONDS
        while text not in self.output:
            assert self.process.is_alive() and time.monotonic() < deadline, self.output
            time.sleep(0.001)

    def kill_at(self, text: str) -> None:
        """SIGKILL once the output contains ``text``."""
        self.wait_for(text)
        os.kill(self.process.pid, signal.SIGKILL)
        assert self.wait() == -signal.SIGKILL


def run(script: str, arguments: list[str], log: Path, folder: Path | None = None) -> str:
    """Run a command that must succeed, in ``folder``; returns its output."""
    command = Command(script, arguments, log, folder=folder)
    assert command.wait() == 0, command.output
    return command.output


def refusal(script: str, arguments: list[str], log: Path) -> str:
    """Run a command that must refuse its input with exit code 2 and one line; returns that line."""
    command = Command(script, arguments, log)
    assert command.wait() == 2, command.output
    lines = command.output.splitlines()
    assert len(lines) == 1, command.output
    return lines[0]


def run_as_torchrun(script: str, arguments: list[str], log: Path, processes: int) -> str:
    """Run a command as so many processes that work together; returns the first's output."""
    commands = start_as_torchrun(script, [arguments] * processes, log)
    for command in commands:
        assert command.wait() == 0, command.output
    return commands[0].output


def start_as_torchrun(script: str, arguments: list[list[str]], log: Path) -> list[Command]:
    """Start a process for each list of arguments, told as torchrun does that they work together."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(len(arguments))}
    common |= {"LOCAL_WORLD_SIZE": str(len(arguments)), "GROUP_RANK": "0", "TORCHELASTIC_RUN_ID": "test"}
    return [
        Command(
            script,
            own,
            log.with_name(f"{log.name}{rank}"),
            {**common, "RANK": f"{rank}", "LOCAL_RANK": f"{rank}"},
        )
        for rank, own in enumerate(arguments)
    ]


def _run(script: str, arguments: list[str], log: str, environment: dict[str, str], folder: str) -> None:
    gc.freeze()  # or the first full collection visits, and thus copies, all that the server has imported
    os.environ.update(environment)
    os.chdir(folder)
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    sys.stdout = open(1, "w", buffering=1, closefd=False)  # noqa: SIM115 -- for the life of the process
    sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
    multiprocessing.set_start_method(None, force=True)  # what Python chooses, as from a shell; a child inherits another
    sys.argv = [script, *arguments]
    sys.path.insert(0, str(ROOT))
    # By its name, as with python -m: the imports within utils are relative.
    runpy.run_module(script.removesuffix(".py").replace("/", "."), run_name="__main__", alter_sys=True)
