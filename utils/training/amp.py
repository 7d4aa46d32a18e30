"""Chooses whose mixed precision a training uses: apex's or torch's."""

from dataclasses import replace

from bart.errors import InputError

from ..cli.training_args import MixedPrecisionSettings, ModelSettings
from ..runtime.apex_package import HOW_TO_GET_AMP, why_no_amp

_BACKENDS = {"apex": "apex's mixed precision", "native": "torch's own mixed precision"}


def choose_amp_backend(
    precision: MixedPrecisionSettings, model: ModelSettings, processes: int
) -> tuple[MixedPrecisionSettings, str | None]:
    """Resolve ``auto``; also return a line that names the backend and the reason, None without float16.

    Raises InputError if the backend that was asked for is missing, or does not go with the other flags.
    """
    if not precision.scales_loss:
        return precision, None
    why_not_apex = "--amp_backend native was given" if precision.amp_backend == "native" else why_no_amp()
    if precision.amp_backend == "apex" and why_not_apex is not None:
        raise InputError(f"--amp_backend apex: {why_not_apex} ({HOW_TO_GET_AMP}); or give --amp_backend native")
    backend = "apex" if why_not_apex is None else "native"
    if backend == "apex" and precision.amp_level == "O1":
        for flag in ("gradient_checkpointing", "compile"):
            if getattr(model, flag):  # its casts are patches that are active in the forward pass alone
                raise InputError(f"--{flag}: apex.amp's level O1 does not go with it; give --amp_backend native")
    if precision.amp_level == "O2":
        if why_not_apex is not None:
            raise InputError(f"--amp_level O2: needs apex.amp, but {why_not_apex}; give --amp_level O1")
        if processes > 1:  # DDP has laid out its gradients by then
            raise InputError("--amp_level O2: on one GPU alone; give --amp_level O1 for several")
    why = why_not_apex or "apex.amp is installed"
    line = f"fp16: {_BACKENDS[backend]}, level {precision.amp_level} ({why})"
    return replace(precision, amp_backend=backend), line
