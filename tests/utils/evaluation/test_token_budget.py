"""How many source tokens a search takes at once."""

import numpy as np
import torch

from bart.configuration.configuration_bart import BartConfig
from utils.evaluation.token_budget import TokenBudget, bytes_of_search, find_token_budget


def test_a_batch_has_as_many_sources_as_the_tokens_allow() -> None:
    """Sources of 9, 10 and 16 tokens count as 16, and the outputs of each as 8 more."""
    budget = TokenBudget(tokens=48, row_tokens=8)
    batches = budget.batches(np.array([10, 40, 3, 9, 3, 3, 16]))
    assert [rows.tolist() for rows in batches] == [[1], [0, 3], [6, 2], [4, 5]]


def test_lengths_of_one_window_give_batches_of_one_size() -> None:
    """So that a GPU needs one set of graphs for them."""
    batches = TokenBudget(tokens=1024, row_tokens=0, multiple=128).batches(np.array([200, 250, 130, 255, 140, 190, 10]))
    assert [len(rows) for rows in batches] == [4, 3]


def test_bytes_of_bart_large() -> None:
    """By hand: keys and values are 2 x 12 x 1024 numbers a token, and 10 x 1024 + 2 x 4096 the encoder's."""
    config = BartConfig(num_beams=4, max_length=100)
    token, row = bytes_of_search(config, config, itemsize=2)
    assert token == 2 * (24576 + 10240 + 8192)
    assert row == 4 * (2 * 24576 * 100 + 4 * 4 * 50265)


def test_on_a_gpu_the_free_memory_decides(monkeypatch) -> None:
    config, gpu = BartConfig(num_beams=4, max_length=100), torch.device("cuda")
    free = 2**30
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 2**40))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 3000)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 1000)
    budget = find_token_budget(config, config, torch.bfloat16, gpu)
    assert budget.tokens == (2**30 + 2000) // 8 // 86016
    assert budget.multiple == 128
    free = 2**40
    assert find_token_budget(config, config, torch.bfloat16, gpu).tokens == 2**17
    free = 1000
    assert find_token_budget(config, config, torch.bfloat16, gpu).tokens == 1
    assert find_token_budget(config, config, torch.float32, torch.device("cpu")).multiple == 8
