"""The number of times that gradients are sent, and the settings that are refused."""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from bart.configuration.configuration_bart import BartConfig
from bart.errors import InputError
from tests.tiny_setup import tiny_config
from utils.cli.options import from_values
from utils.cli.training_args import DistributedSettings, TrainingArguments
from utils.training.strategies.apex_ddp import ApexStrategy
from utils.training.strategies.select import check_strategy, training_strategy

STEPS = 3


class Line(pl.LightningModule):
    """A small module that learns something with any strategy."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 1)

    def training_step(self, batch: Tensor, index: int) -> Tensor:
        return self.layer(batch).square().mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class CountAllReduces(pl.Callback):
    """Counts the buckets that DDP sends; here one bucket holds all gradients."""

    def __init__(self) -> None:
        self.count = 0

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        trainer.strategy.model.register_comm_hook(None, self._send)

    def _send(self, _: None, bucket: torch.distributed.GradBucket) -> torch.futures.Future[Tensor]:
        self.count += 1
        work = torch.distributed.all_reduce(bucket.buffer(), async_op=True)
        return work.get_future().then(lambda done: done.value()[0])


@pytest.fixture
def process_group(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Set up a single process as torchrun sets up one of several that work together."""
    for name in ("RANK", "LOCAL_RANK", "GROUP_RANK"):
        monkeypatch.setenv(name, "0")
    for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "test")
    store = torch.distributed.HashStore()
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def fit(
    strategy: object, accumulation: int, folder: Path, callbacks: list[pl.Callback], accelerator: str = "cpu"
) -> Line:
    """Train a module for STEPS steps, always from the same weights and data, and return it."""
    torch.manual_seed(0)
    module = Line()
    trainer = pl.Trainer(
        accelerator=accelerator,
        devices=1,
        strategy=strategy,
        accumulate_grad_batches=accumulation,
        max_steps=STEPS,
        callbacks=callbacks,
        logger=False,
        use_distributed_sampler=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )
    trainer.fit(module, DataLoader(torch.randn(64, 4, generator=torch.Generator().manual_seed(1)), batch_size=4))
    assert trainer.global_step == STEPS
    return module


@pytest.mark.parametrize("accumulation", [1, 4])
@pytest.mark.usefixtures("process_group")
def test_gradients_are_sent_once_a_step(tmp_path: Path, accumulation: int) -> None:
    strategy = training_strategy(DistributedSettings(), tiny_config(), processes=2, accumulation=accumulation)
    counter = CountAllReduces()
    fit(strategy, accumulation, tmp_path, [counter])
    assert counter.count == STEPS


class ApexLikeWrapper(nn.Module):
    """A wrapper with the methods that ApexStrategy uses, since apex needs CUDA. Counts the passes that send."""

    sent = 0

    def __init__(self, module: nn.Module, gradient_average: bool) -> None:
        super().__init__()
        assert gradient_average
        self.module = module
        self.allreduce = True
        next(module.parameters()).register_post_accumulate_grad_hook(self._count)

    def _count(self, _: Tensor) -> None:
        ApexLikeWrapper.sent += self.allreduce

    def enable_allreduce(self) -> None:
        self.allreduce = True

    def disable_allreduce(self) -> None:
        self.allreduce = False

    def forward(self, *inputs: object, **named: object) -> object:
        return self.module(*inputs, **named)


@pytest.mark.parametrize("accumulation", [1, 4])
@pytest.mark.usefixtures("process_group")
def test_apex_sends_gradients_once_a_step(tmp_path: Path, accumulation: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lightning calls the module through apex's wrapper, and the wrapper is removed at the end."""
    monkeypatch.setitem(sys.modules, "apex", SimpleNamespace())
    fake = SimpleNamespace(DistributedDataParallel=ApexLikeWrapper)
    monkeypatch.setitem(sys.modules, "apex.parallel", fake)
    ApexLikeWrapper.sent = 0
    module = fit(ApexStrategy(), accumulation, tmp_path, [])
    assert ApexLikeWrapper.sent == STEPS
    alone = fit("auto", accumulation, tmp_path, [])
    assert torch.equal(module.layer.weight, alone.layer.weight)


@pytest.mark.parametrize(
    "flags, message",
    [
        ({"fp16": True}, "no loss scaling"),
        ({"optimizer": "lamb"}, "--optimizer lamb"),
        ({"eval_beams": 2}, "--eval_beams 0"),
        ({"ddp_backend": "apex"}, "--ddp_backend apex"),
    ],
)
def test_flags_that_conflict_with_fsdp_are_refused_when_they_are_read(flags: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        from_values(TrainingArguments, {"strategy": "fsdp", **flags}).check()


@pytest.mark.parametrize(
    "flags, config, on_gpu, message",
    [
        ({"strategy": "fsdp"}, {"encoder_layerdrop": 0.1}, False, "layerdrop"),
        ({"ddp_backend": "apex"}, {"decoder_layerdrop": 0.1}, True, "layerdrop"),
        ({"ddp_backend": "apex"}, {}, False, "needs GPUs"),
        ({"ddp_backend": "apex"}, {}, True, "pytorch:25.05-py3"),
    ],
)
def test_conflicting_settings_are_refused(flags: dict, config: dict, on_gpu: bool, message: str) -> None:
    configuration: BartConfig = tiny_config().copy(**config)
    arguments = from_values(TrainingArguments, flags)
    arguments.check()
    with pytest.raises(InputError, match=message):
        check_strategy(arguments.processes, configuration, on_gpu)
