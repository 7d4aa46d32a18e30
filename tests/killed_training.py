"""finetune.py, which SIGKILL ends at an exact place: ``python -m tests.killed_training PLACE CALL FLAGS``.

A kill from without strikes where it strikes, on a machine under load later than it was aimed at.
"""

import functools
import itertools
import os
import signal
import sys
from typing import Any

from bart.checkpoints.checksummed_file import ChecksummingWriter
from utils.commands.fine_tune import main
from utils.training.module import SummarizationModule

PLACES = {
    "step": (SummarizationModule, "training_step"),  # before a micro-batch
    "validation": (SummarizationModule, "validation_step"),
    "save": (ChecksummingWriter, "write_checksum"),  # of a file that lacks nothing else but its name
}


def kill_at_call(owner: type, name: str, number: int) -> None:
    """Let a method kill this process when it is called for the ``number``-th time."""
    method, calls = getattr(owner, name), itertools.count(1)

    @functools.wraps(method)
    def killed(*arguments: Any, **named: Any) -> Any:
        if next(calls) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return method(*arguments, **named)

    setattr(owner, name, killed)


if __name__ == "__main__":
    kill_at_call(*PLACES[sys.argv[1]], int(sys.argv[2]))
    del sys.argv[1:3]
    sys.exit(main())
