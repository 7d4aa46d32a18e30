"""``generate``: from source tokens to output tokens."""

from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from bart.generation.beam_search import beam_search
from bart.generation.logits_rules import build_rules
from bart.generation.output import GenerationOutput
from bart.generation.sampling import greedy_search_or_sampling
from bart.generation.search_settings import resolve_search_settings
from bart.generation.step_decoder import StepDecoder, StepMemory
from bart.modeling.modeling_bart import BartForConditionalGeneration


@torch.no_grad()
def generate(
    model: BartForConditionalGeneration,
    input_ids: Tensor,
    attention_mask: Tensor | None = None,
    memory: StepMemory | None = None,
    **search: Any,
) -> Tensor | GenerationOutput:
    """Search for the outputs of a batch of sources.

    Args:
        model: should be in evaluation mode; with dropout the outputs are random.
        input_ids: (B, S).
        attention_mask: (B, S), 0 where padded; None: padded where ``input_ids`` is the pad token.
        memory: for searches that follow each other, whose steps on a GPU are then recorded once.
        search: settings that override the configuration's; see ``SearchSettings`` for all of them.

    Returns:
        Token ids (B * num_return_sequences, L), a sentence's sequences together and best first, padded on the right;
        or, with ``return_dict_in_generate``, a ``GenerationOutput`` that holds them.

    Raises:
        InputError: an argument does not exist, is impossible, or contradicts another; or a source is too long.
    """
    config = model.config
    settings = resolve_search_settings(config, search)
    if attention_mask is None:
        attention_mask = input_ids != config.pad_token_id
    beams = settings.num_return_sequences if settings.num_beams == 1 else settings.num_beams
    rows = input_ids.size(0) * (beams if settings.num_beams == 1 else 1)
    strategy = greedy_search_or_sampling if settings.num_beams == 1 else beam_search
    # Streams, events and graphs are made on the current GPU, which need not be the model's.
    with torch.cuda.device(input_ids.device) if input_ids.is_cuda else nullcontext():
        decoder = StepDecoder(model, input_ids, attention_mask, beams, settings.max_length, memory)
        rules = build_rules(settings, input_ids, config.eos_token_id)
        start = torch.full((rows,), config.decoder_start_token_id, device=input_ids.device)
        output = strategy(decoder, start, settings, rules, config.eos_token_id, config.pad_token_id)
    return output if settings.return_dict_in_generate else output.sequences
