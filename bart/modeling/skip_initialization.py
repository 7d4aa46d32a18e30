"""Building a model whose weights are loaded afterwards, without drawing random ones first."""

from collections.abc import Callable, Iterable
from typing import Any

from torch.overrides import TorchFunctionMode


class SkipInitialization(TorchFunctionMode):
    """While active, ``normal_``, ``uniform_`` and ``kaiming_uniform_`` of ``torch.nn.init`` leave a tensor as it is.

    On the meta device there is nothing to fill, and torch would import its whole compiler to find that out.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return func(*args, **kwargs)
