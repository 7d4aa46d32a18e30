"""The row of attention: every kernel of torch, and the default, on the shapes that batches have."""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from scripts.benchmark.gpu.session import Session, Settings

_KERNELS = {
    "default": None,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
}
_DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}
_LENGTHS = (128, 136, 192)  # S % 128 is 0, 8 and 64
_ROWS, _HEADS, _SIZE = 4, 2, 64
_LARGEST_ERROR = 0.05


def attention(session: Session, settings: Settings) -> None:
    """Tell the relative error of outputs and gradients of each kernel, length and type, with and without a mask.

    The default kernel must be right, except where cuDNN may fail (pytorch issue 196678), which the model avoids; the
    others may refuse, or be wrong.

    Raises:
        RuntimeError: the default kernel is wrong, or its results are not finite.
    """
    wrong = []
    for precision in settings["precisions"]:
        for length in _LENGTHS:
            for masked in (False, True):
                exact = _compute(session.device, length, masked, torch.float32, SDPBackend.MATH)
                for name, kernel in _KERNELS.items():
                    what = f"{name}, {precision}, {length} tokens{', mask' if masked else ''}"
                    try:
                        found = _compute(session.device, length, masked, _DTYPES[precision], kernel)
                    except RuntimeError as error:
                        if kernel is None:
                            raise
                        session.tell({what: str(error).splitlines()[0][:80]})
                        continue
                    error_found = ((found - exact).norm() / exact.norm()).item()
                    session.tell({what: error_found})
                    may_fail = masked and length % 128 == 64
                    if kernel is None and not may_fail and not error_found < _LARGEST_ERROR:
                        wrong.append(what)
    if wrong:
        raise RuntimeError(f"wrong by more than {_LARGEST_ERROR}, or not finite: {'; '.join(wrong)}")


def _compute(device: str, length: int, masked: bool, dtype: torch.dtype, kernel: SDPBackend | None) -> Tensor:
    """Return output and gradients of attention of ``length`` tokens, flattened, in float32."""
    generator = torch.Generator().manual_seed(length)
    shape = (3, _ROWS, _HEADS, length, _SIZE)
    states = (2 * torch.randn(shape, generator=generator)).to(device, dtype).requires_grad_()
    lengths = torch.linspace(length // 4, length, _ROWS, device=device)
    mask = (torch.arange(length, device=device) < lengths[:, None])[:, None, None, :] if masked else None
    if kernel is None:
        output = F.scaled_dot_product_attention(*states, mask)
    else:
        with sdpa_kernel(kernel):
            output = F.scaled_dot_product_attention(*states, mask)
    output.float().square().sum().backward()
    assert states.grad is not None
    return torch.cat([output.detach().flatten(), states.grad.flatten()]).float()
