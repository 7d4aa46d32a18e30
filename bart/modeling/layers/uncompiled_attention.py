"""``blocked_attention`` as compiled code calls it: from outside of the compiler's graphs.

Only code that is being compiled imports this module, because ``torch.compiler.disable`` imports the whole compiler,
which takes over a second.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from bart.modeling.layers.blocked_attention import blocked_attention

uncompiled_attention: Callable[..., Tensor] = torch.compiler.disable(blocked_attention)  # type: ignore[no-untyped-call]
