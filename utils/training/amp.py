"""Mixed precision in training: who does it, and whether a loss is scaled for it."""

from dataclasses import replace

from bart.errors import InputError

from ..cli.args import TrainingArguments
from ..runtime.apex_package import HOW_TO_GET_AMP, why_no_amp

_BACKENDS = {"apex": "apex's mixed precision", "native": "torch's own mixed precision"}


def choose_amp_backend(arguments: TrainingArguments, processes: int) -> tuple[TrainingArguments, str | None]:
    """The arguments with what ``auto`` comes to, and a line that says which backend it is and why.

    None instead of the line without mixed precision in float16. Raises InputError if what was asked for is not there.
    """
    if not arguments.fp16 or arguments.amp_level == "O0":
        return arguments, None
    why_not_apex = "--amp_backend native was given" if arguments.amp_backend == "native" else why_no_amp()
    if arguments.amp_backend == "apex" and why_not_apex is not None:
        raise InputError(f"--amp_backend apex: {why_not_apex} ({HOW_TO_GET_AMP}); or give --amp_backend native")
    backend = "apex" if why_not_apex is None else "native"
    if backend == "apex" and arguments.amp_level == "O1":
        for flag in ("gradient_checkpointing", "compile"):
            if getattr(arguments, flag):  # its casts are patches that are active in the forward pass alone
                raise InputError(f"--{flag}: apex.amp's level O1 does not go with it; give --amp_backend native")
    if arguments.amp_level == "O2":
        if why_not_apex is not None:
            raise InputError(f"--amp_level O2: needs apex.amp, but {why_not_apex}; give --amp_level O1")
        if processes > 1:  # DDP has laid out its gradients by then
            raise InputError("--amp_level O2: on one GPU alone; give --amp_level O1 for several")
    why = why_not_apex or "apex.amp is installed"
    line = f"fp16: {_BACKENDS[backend]}, level {arguments.amp_level} ({why})"
    return replace(arguments, amp_backend=backend), line


def scales_loss(arguments: TrainingArguments) -> bool:
    """Whether a loss scaler leaves out steps whose gradients overflow."""
    return arguments.fp16 and arguments.amp_level != "O0"


def is_mixed(arguments: TrainingArguments) -> bool:
    """Whether matrix products are computed in 16 bits, with float32 weights."""
    return arguments.bf16 or scales_loss(arguments)
