"""Batches that shrink while they are searched: the same outputs, by fewer sentences at a step."""

import pytest
import torch
from torch import Tensor

from bart.generation import active_sentences
from bart.generation.active_sentences import ActiveSentences
from bart.generation.step_decoder import StepDecoder
from bart.modeling.modeling_bart import BartForConditionalGeneration
from tests.random_models import model_pair

PAD = 1

SEARCHES = [
    {"num_beams": 1},
    {"num_beams": 3, "early_stopping": True},
    {"num_beams": 3, "length_penalty": 2.0, "no_repeat_ngram_size": 2},
    {"num_beams": 4, "num_beam_groups": 2, "diversity_penalty": 0.5, "num_return_sequences": 4},
    {"num_beams": 2, "early_stopping": "never", "encoder_no_repeat_ngram_size": 2},
]


def one_by_one(
    model: BartForConditionalGeneration, source: Tensor, mask: Tensor, search: dict[str, object]
) -> list[list[int]]:
    """The outputs of each sentence by itself."""
    outputs = []
    for tokens, their_mask in zip(source, mask, strict=True):
        found = model.generate(tokens[None], their_mask[None], **search)
        assert isinstance(found, Tensor)
        outputs += [unpadded(sequence) for sequence in found]
    return outputs


def unpadded(sequence: Tensor) -> list[int]:
    tokens = sequence.tolist()
    while tokens[-1] == PAD:
        tokens.pop()
    return tokens


@pytest.mark.parametrize("lag", [0, 2])
@pytest.mark.parametrize("search", SEARCHES, ids=lambda search: str(list(search.values())))
def test_a_shrinking_batch_gives_what_each_sentence_gives_alone(
    search: dict[str, object], lag: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a lag too, as on a GPU, where the host learns late which sentences are done."""
    monkeypatch.setitem(active_sentences._LAG, "cpu", lag)
    sizes: set[int] = set()
    next_logits = StepDecoder.next_logits

    def noted(decoder: StepDecoder, tokens: Tensor) -> Tensor:
        sizes.add(len(tokens) // int(search["num_beams"]))
        return next_logits(decoder, tokens)

    model = model_pair(1004, eos_bias=2.0).ours  # whose outputs differ in length
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        source = torch.randint(4, model.config.vocab_size, (12, 10), generator=generator)
        mask = torch.ones_like(source)
        mask[::3, 7:] = 0
        settings = {**search, "max_length": 40}
        with monkeypatch.context() as patch:
            patch.setattr(StepDecoder, "next_logits", noted)
            together = model.generate(source, mask, **settings)
        assert [unpadded(sequence) for sequence in together] == one_by_one(model, source, mask, settings)
    assert min(sizes) < 12  # it did shrink


@pytest.mark.parametrize("search", [SEARCHES[0], SEARCHES[2]], ids=["greedy", "beams"])
def test_scores_of_the_same_steps_whatever_the_lag(search: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that learns late that a search is over, takes steps too many; also where the longest output ends it."""
    model = model_pair(1004, eos_bias=2.0).ours
    source = torch.randint(4, model.config.vocab_size, (3, 10), generator=torch.Generator().manual_seed(0))
    lengths = set()
    for max_length in range(4, 40):
        settings = {**search, "max_length": max_length, "output_scores": True, "return_dict_in_generate": True}
        outputs = []
        for lag in (0, 2):
            monkeypatch.setitem(active_sentences._LAG, "cpu", lag)
            outputs.append(model.generate(source, **settings))
        assert len(outputs[0].scores) == len(outputs[1].scores)
        assert outputs[0].sequences.tolist() == outputs[1].sequences.tolist()
        lengths.add(len(outputs[0].scores))
    assert max(lengths) < 39  # the last ones ended by themselves


def test_those_behind_move_to_the_free_places() -> None:
    sentences = ActiveSentences(6, torch.device("cpu"), may_shrink=True)
    compaction = sentences.report(torch.tensor([True, False, True, False, False, True]), torch.tensor(False))
    assert compaction is not None
    assert sentences.sentences.tolist() == [4, 1, 3] or sentences.sentences.tolist() == [3, 1, 4]
    assert sorted(compaction.gather(torch.arange(10, 16)).tolist()) == [11, 13, 14]
    assert sentences.report(torch.tensor([False, False, False]), torch.tensor(False)) is None
    assert not sentences.all_done
    sentences.report(torch.tensor([True, True, True]), torch.tensor(True))
    assert sentences.all_done


def test_draws_and_scores_are_of_the_whole_batch() -> None:
    sentences = ActiveSentences(6, torch.device("cpu"), may_shrink=False)
    assert sentences.report(torch.tensor([True, False, True, False, False, True]), torch.tensor(False)) is None
