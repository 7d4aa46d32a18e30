"""apex's DistributedDataParallel under Lightning, as the reference recipe had it. Not run on CUDA yet."""

from collections.abc import Iterator
from contextlib import contextmanager

from pytorch_lightning.strategies import DDPStrategy
from torch import nn

from bart.errors import InputError


def find_apex_ddp() -> type[nn.Module]:
    """apex's wrapper. Raises InputError where there is none."""
    try:
        from apex.parallel import DistributedDataParallel
    except ImportError as error:  # also of today's apex, and of the unrelated package of that name on PyPI
        raise InputError(
            "--ddp_backend apex: there is no apex.parallel here. NVIDIA's apex had it up to the tag 25.05, as in the "
            "container nvcr.io/nvidia/pytorch:25.05-py3 (PyPI's apex is something else); or give native"
        ) from error
    return DistributedDataParallel


class ApexStrategy(DDPStrategy):
    """DDP with apex's wrapper in torch's place. Like torch's it gives the mean over processes of their gradients."""

    def _setup_model(self, model: nn.Module) -> nn.Module:
        return find_apex_ddp()(model, gradient_average=True)

    def _register_ddp_hooks(self) -> None:
        """They are for torch's wrapper."""

    @contextmanager
    def block_backward_sync(self) -> Iterator[None]:
        """Keep the gradients of a micro-batch to this process; the last one of a step sends their sum."""
        self.model.disable_allreduce()
        try:
            yield
        finally:
            self.model.enable_allreduce()

    def teardown(self) -> None:
        self.model = self.lightning_module
        super().teardown()
