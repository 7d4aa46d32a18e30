"""apex's DistributedDataParallel under Lightning, as in the reference recipe. It has not been run on CUDA yet."""

from collections.abc import Iterator
from contextlib import contextmanager

from pytorch_lightning.strategies import DDPStrategy
from torch import nn

from bart.errors import InputError


def find_apex_ddp() -> type[nn.Module]:
    """Return apex's wrapper. Raises InputError if it is not installed."""
    try:
        from apex.parallel import DistributedDataParallel
    except ImportError as error:  # today's apex lacks it too, and so does PyPI's unrelated package of that name
        raise InputError(
            "--ddp_backend apex: apex.parallel is not installed. NVIDIA's apex has it up to the tag 25.05, as in the "
            "container nvcr.io/nvidia/pytorch:25.05-py3 (PyPI's apex is another package); install that, or give native"
        ) from error
    return DistributedDataParallel


class ApexStrategy(DDPStrategy):
    """DDP with apex's wrapper instead of torch's. Both give the mean of the processes' gradients."""

    def _setup_model(self, model: nn.Module) -> nn.Module:
        return find_apex_ddp()(model, gradient_average=True)

    def _register_ddp_hooks(self) -> None:
        """Register nothing: Lightning's hooks are for torch's wrapper."""

    @contextmanager
    def block_backward_sync(self) -> Iterator[None]:
        """Send no gradients after this micro-batch; the last one of a step sends their sum."""
        self.model.disable_allreduce()
        try:
            yield
        finally:
            self.model.enable_allreduce()

    def teardown(self) -> None:
        """Remove apex's wrapper from the module."""
        self.model = self.lightning_module
        super().teardown()
