"""Shrinks a model to some of its layers: a student that is fine-tuned next.

This is the first step of "shrink and fine-tune" (Shleifer and Rush 2020, https://arxiv.org/abs/2010.13002): the layers
are taken from the teacher at even spacing, and everything else is shared by both.
"""

from torch import nn

from bart.errors import InputError
from bart.modeling.modeling_bart import BartForConditionalGeneration

# The authors' choices among 12 layers that are not those of the rule below. All of their choices are in transformers 4,
# examples/research_projects/seq2seq-distillation/make_student.py.
_PUBLISHED = {(12, 2): [0, 6], (12, 9): [0, 1, 2, 4, 5, 7, 9, 10, 11]}


def layers_to_copy(teacher: int, student: int) -> list[int]:
    """Choose as many of the teacher's layers as the student has: the first, the last, and others at even spacing.

    For 12 layers these are the published ones: 0, 6 and 11 for 3, and 0, 2, 4, 7, 9 and 11 for 6. A single layer is the
    first one.

    Args:
        teacher: the number of layers that there are.
        student: the number of layers to choose, from 1 to ``teacher``.

    Returns:
        The layers' numbers from 0, in rising order.
    """
    if student == 1:
        return [0]
    spaced = [min(teacher * place // (student - 1), teacher - 1) for place in range(student)]
    return _PUBLISHED.get((teacher, student), spaced)


def shrink(model: BartForConditionalGeneration, encoder_layers: int | None, decoder_layers: int | None) -> None:
    """Leave a model only some of its layers, in place. None leaves all layers of a side.

    Raises:
        InputError: more layers are asked for than there are.
    """
    counts = {"encoder_layers": encoder_layers, "decoder_layers": decoder_layers}
    asked = {name: count for name, count in counts.items() if count is not None}
    for name, count in asked.items():
        if count > (present := getattr(model.config, name)):
            raise InputError(f"--{name} {count}: the teacher has {present}; give a number from 1 to {present}")
    for name, count in asked.items():
        side = model.model.encoder if name == "encoder_layers" else model.model.decoder
        side.layers = nn.ModuleList([side.layers[number] for number in layers_to_copy(len(side.layers), count)])
    model.config = model.config.copy(**asked)
