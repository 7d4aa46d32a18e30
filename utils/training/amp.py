"""Chooses the implementation of mixed precision: apex's or torch's."""

from dataclasses import replace

from bart.errors import InputError

from ..cli.training_args import MixedPrecisionSettings, ModelSettings
from ..runtime.apex_package import HOW_TO_GET_AMP, why_no_amp

_BACKENDS = {"apex": "apex's mixed precision", "native": "torch's own mixed precision"}


def choose_amp_backend(
    precision: MixedPrecisionSettings, model: ModelSettings, processes: int
) -> tuple[MixedPrecisionSettings, str | None]:
    """Replace ``auto`` by the backend to use.

    Args:
        processes: number of processes that train together.

    Returns:
        The settings with the backend, and a line that names it and the reason (None if float16 is not used).

    Raises:
        InputError: if the backend that was asked for is missing, or conflicts with other flags.
    """
    if not precision.scales_loss:
        return precision, None

    # The backend: apex's, unless it is missing or torch's was asked for.
    why_not_apex = "--amp_backend native was given" if precision.amp_backend == "native" else why_no_amp()
    if precision.amp_backend == "apex" and why_not_apex is not None:
        raise InputError(f"--amp_backend apex: {why_not_apex} ({HOW_TO_GET_AMP}); or give --amp_backend native")
    backend = "apex" if why_not_apex is None else "native"

    # Flags that conflict with it.
    if backend == "apex" and precision.amp_level == "O1":
        for flag in ("gradient_checkpointing", "compile"):
            if getattr(model, flag):  # O1 patches functions of torch, in the forward pass alone
                raise InputError(f"--{flag}: does not work with apex.amp's level O1; give --amp_backend native")
    if precision.amp_level == "O2":
        if why_not_apex is not None:
            raise InputError(f"--amp_level O2: needs apex.amp, but {why_not_apex}; give --amp_level O1")
        if processes > 1:  # DDP has laid out the gradients before apex casts the weights
            raise InputError("--amp_level O2: works on one GPU alone; give --amp_level O1 for several")
    why = why_not_apex or "apex.amp is installed"
    line = f"fp16: {_BACKENDS[backend]}, level {precision.amp_level} ({why})"
    return replace(precision, amp_backend=backend), line
