import numpy as np

from bart.modeling.modeling_bart import IGNORE_INDEX
from bart.tokenization.tokenization_bart import BartTokenizer
from tests.tiny_setup import TinySetup
from utils.data.batch import BatchDataset, BatchIndices
from utils.data.examples import Origin, PairExamples
from utils.data.splits import read_pairs
from utils.data.tokens.encode import encode


def tokenized(
    setup: TinySetup, tokenizer: BartTokenizer, split: str, max_source_length: int = 64, max_padded_length: int = 64
) -> BatchDataset:
    pairs = read_pairs(setup.data, split)
    sources = encode(pairs.sources, tokenizer, max_source_length, " ")
    targets = encode(pairs.targets, tokenizer, 16, " ")
    origin = Origin(setup.data / f"{split}.source", np.arange(len(sources)))
    return BatchDataset(PairExamples(sources, targets, origin), tokenizer.pad_token_id, max_padded_length)


def test_checksum_sees_a_changed_token(setup: TinySetup, tokenizer: BartTokenizer) -> None:
    dataset = tokenized(setup, tokenizer, "val")
    before = dataset.examples.checksum()
    dataset.examples.targets.tokens[5] += 1
    assert dataset.examples.checksum() != before


def test_batch(setup: TinySetup, tokenizer: BartTokenizer) -> None:
    dataset = tokenized(setup, tokenizer, "train", max_source_length=50, max_padded_length=50)
    indices = np.array([7, 3, 11])
    batch = dataset[BatchIndices(indices, step_target_tokens=99)]
    assert batch.indices.tolist() == [7, 3, 11] and batch.step_target_tokens == 99
    for row, index in enumerate(indices):
        source, target = dataset.examples.sources[index].tolist(), dataset.examples.targets[index].tolist()
        assert batch.input_ids[row, : len(source)].tolist() == source
        assert (batch.input_ids[row, len(source) :] == tokenizer.pad_token_id).all()
        assert batch.attention_mask[row].tolist() == [1] * len(source) + [0] * (batch.input_ids.size(1) - len(source))
        assert batch.labels[row, : len(target)].tolist() == target
        assert (batch.labels[row, len(target) :] == IGNORE_INDEX).all()
    assert batch.labels.size(1) % 8 == 0
    longest = dataset[BatchIndices(np.array([int(dataset.examples.source_lengths.argmax())]), 0)]
    assert longest.input_ids.size(1) == 50  # not 56: there are no more positions


def test_a_dummy_batch_does_not_count(setup: TinySetup, tokenizer: BartTokenizer) -> None:
    dataset = tokenized(setup, tokenizer, "val")
    batch = dataset[BatchIndices(np.array([2]), 9, is_dummy=True)]
    assert (batch.labels == IGNORE_INDEX).all() and batch.attention_mask.any()
