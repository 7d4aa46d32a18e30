import threading
import time

import pytest
from torch.distributed import HashStore

from bart.errors import InputError
from utils.runtime.evaluation_group import EvaluationGroup, ProcessesMissing


def test_one_that_works_is_waited_for_and_one_that_hangs_is_not() -> None:
    """The other process finishes batches for longer than the timeout, and then stops."""
    store = HashStore()
    me, other = EvaluationGroup(0, 2, store, timeout=1), EvaluationGroup(1, 2, store, timeout=1)

    def work() -> None:
        for _ in range(8):
            time.sleep(0.2)
            other.batch_done()

    worker = threading.Thread(target=work)
    start = time.monotonic()
    worker.start()
    with pytest.raises(TimeoutError, match="--timeout 1: 1 of 2 processes"):
        me.gather_to_first("texts")
    assert time.monotonic() - start > 2.4  # 8 batches of 0.2 seconds, and the timeout
    worker.join()


def test_alone() -> None:
    group = EvaluationGroup()
    assert group.gather_to_first("texts") == ["texts"] and group.agree_on(b"anything")


def test_a_timeout_is_told_in_one_line() -> None:
    assert issubclass(ProcessesMissing, InputError)
