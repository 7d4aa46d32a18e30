"""Which layers a student is made of."""

from itertools import pairwise

import pytest
import torch

from bart.errors import InputError
from bart.modeling.modeling_bart import BartForConditionalGeneration
from tests.tiny_setup import tiny_config
from utils.checkpoint.student import layers_to_copy, shrink

# examples/research_projects/seq2seq-distillation/make_student.py of transformers 4
PUBLISHED = {
    1: [0],
    2: [0, 6],
    3: [0, 6, 11],
    4: [0, 4, 8, 11],
    6: [0, 2, 4, 7, 9, 11],
    9: [0, 1, 2, 4, 5, 7, 9, 10, 11],
    12: list(range(12)),
}


def test_twelve_layers_give_the_published_students() -> None:
    assert {student: layers_to_copy(12, student) for student in PUBLISHED} == PUBLISHED


def test_any_number_of_layers_is_evenly_spaced() -> None:
    """From the first to the last; gaps differ by one at most, apart from the one before the last layer."""
    for teacher in range(1, 33):
        assert layers_to_copy(teacher, teacher) == list(range(teacher))
        for student in range(1, teacher + 1):
            layers = layers_to_copy(teacher, student)
            assert len(layers) == student and layers[0] == 0
            if student > 1 and (teacher, student) != (12, 2):
                assert layers[-1] == teacher - 1
            gaps = {after - before for before, after in pairwise(layers[:-1])}
            assert not gaps or (min(gaps) >= 1 and max(gaps) - min(gaps) <= 1)


def test_a_side_without_a_number_keeps_its_layers() -> None:
    model = BartForConditionalGeneration(tiny_config().copy(encoder_layers=2, decoder_layers=3))
    layers = list(model.model.decoder.layers)
    before = torch.nn.utils.parameters_to_vector(model.model.encoder.parameters())
    shrink(model, None, 2)
    assert list(model.model.decoder.layers) == [layers[0], layers[2]]
    assert torch.equal(torch.nn.utils.parameters_to_vector(model.model.encoder.parameters()), before)
    assert (model.config.encoder_layers, model.config.decoder_layers) == (2, 2)


def test_a_refusal_changes_nothing() -> None:
    model = BartForConditionalGeneration(tiny_config().copy(encoder_layers=2, decoder_layers=2))
    with pytest.raises(InputError, match=r"--decoder_layers 3: the teacher has 2; give a number from 1 to 2"):
        shrink(model, 1, 3)
    assert len(model.model.encoder.layers) == model.config.encoder_layers == 2
