import multiprocessing
from collections.abc import Iterator
from itertools import islice

import pytest
import torch
from torch.utils.data import Dataset

from bart.errors import InputError
from bart.modeling.modeling_bart import IGNORE_INDEX
from bart.tokenization.tokenization_bart import BartTokenizer
from tests.tiny_setup import TinySetup
from tests.utils.data.test_batch import tokenized
from tests.utils.data.test_batch_sampler import make_sampler
from utils.data.batch import BatchIndices
from utils.data.loaders import TrainingLoader, batch_loader, validation_loader


class Indices(Dataset[torch.Tensor]):
    """Gives the indices of a batch as the batch."""

    def __getitem__(self, batch: BatchIndices) -> torch.Tensor:
        return torch.from_numpy(batch.indices)


@pytest.fixture
def process_server() -> Iterator[None]:
    """Start processes by a server, as Python 3.14 does by default."""
    multiprocessing.set_start_method("forkserver", force=True)
    yield
    multiprocessing.set_start_method(None, force=True)


@pytest.mark.usefixtures("process_server")
@pytest.mark.parametrize("workers", [0, 2])
def test_loader_resumes_at_its_position(workers: int) -> None:
    def loader() -> TrainingLoader:
        return TrainingLoader(Indices(), make_sampler(), 40, workers, pin_memory=False, data_checksum=1)

    expected = [indices.tolist() for indices in loader()]
    assert len(expected) == len(loader()) == 120
    interrupted = loader()
    first = [indices.tolist() for indices in islice(interrupted, 70)]
    resumed = loader()
    resumed.load_state_dict(interrupted.state_dict())
    assert first + [indices.tolist() for indices in resumed] == expected


def test_batches_of_workers_need_no_shared_memory() -> None:
    batches = make_sampler().batches(0, 9)
    (batch,) = islice(batch_loader(Indices(), batches, 1, pin_memory=False), 1)
    assert torch.equal(batch, next(iter(TrainingLoader(Indices(), make_sampler(), 5, 0, False, 1))))
    assert not batch.is_shared()


def test_loader_leaves_random_numbers_alone() -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    next(iter(TrainingLoader(Indices(), make_sampler(), 5, 0, pin_memory=False, data_checksum=1)))
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize(
    ("changes", "checksum", "named"), [({}, 2, "training data"), ({"processes": 2}, 1, "1 processes")]
)
def test_loader_refuses_another_run(changes: dict[str, int], checksum: int, named: str) -> None:
    state = TrainingLoader(Indices(), make_sampler(), 5, 0, pin_memory=False, data_checksum=1).state_dict()
    other = TrainingLoader(Indices(), make_sampler(**changes), 5, 0, pin_memory=False, data_checksum=checksum)
    with pytest.raises(InputError, match=named):
        other.load_state_dict(state)


@pytest.mark.parametrize("processes", [1, 2, 3, 12, 15])
def test_validation_shares_the_examples(setup: TinySetup, tokenizer: BartTokenizer, processes: int) -> None:
    """Every example counts once, and every process has the same number of batches."""
    dataset = tokenized(setup, tokenizer, "val")
    shares = [
        list(validation_loader(dataset, 4, processes, rank, num_workers=0, pin_memory=False))
        for rank in range(processes)
    ]
    assert len(set(map(len, shares))) == 1 and shares[0]
    counted = [batch.indices[(batch.labels != IGNORE_INDEX).any(1)] for share in shares for batch in share]
    assert torch.cat(counted).sort().values.tolist() == list(range(13))
