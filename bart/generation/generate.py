"""``generate``: search for outputs, from source tokens to output tokens."""

import warnings
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor

from bart.configuration.generation_config import GenerationConfig
from bart.errors import InputError
from bart.generation.arguments import flatten_call, resolve_settings, resolve_special_tokens
from bart.generation.beam_search import beam_search
from bart.generation.cuda_graphs import CudaGraphCache
from bart.generation.decoder import Decoder
from bart.generation.graphed_search import graphed_search
from bart.generation.logits_processors import CallersProcessors, build_logits_processors
from bart.generation.model import SearchableModel
from bart.generation.output import GenerationOutput
from bart.generation.sampling import greedy_search_or_sampling
from bart.generation.sources import Sources
from bart.generation.static_search import suits_static_search
from bart.generation.step_decoder import StepDecoder
from bart.generation.stopping import Condition
from bart.generation.uncached_decoder import UncachedDecoder


@torch.no_grad()
def generate(
    model: SearchableModel,
    input_ids: Tensor | None = None,
    attention_mask: Tensor | None = None,
    *,
    encoder_outputs: Any = None,
    decoder_input_ids: Tensor | None = None,
    logits_processor: Sequence[Callable[[Tensor, Tensor], Tensor]] | None = None,
    stopping_criteria: Sequence[Condition] | None = None,
    prefix_allowed_tokens_fn: Callable[[int, Tensor], Iterable[int]] | None = None,
    use_cache: bool | None = None,
    graphs: CudaGraphCache | None = None,
    is_padded: bool | None = None,
    draw_next: Callable[[Tensor], Tensor] | None = None,
    **search: Any,
) -> Tensor | GenerationOutput:
    """Search for the outputs of a batch of sources. Arguments mean the same as in transformers' ``generate``.

    Two things differ. Groups of beams, which transformers 5 no longer has, are searched as in its version 4.53. Outputs
    are padded with ``pad_token_id`` even if there is no ``eos_token_id``; transformers pads with -1 then.

    Args:
        model: should be in evaluation mode; with dropout the outputs are random.
        input_ids: (B, S); may be left out if there are ``encoder_outputs``.
        attention_mask: (B, S), 0 for padding; None: every pad token in ``input_ids`` is padding.
        encoder_outputs: the encoder's states (B, S, D), or a tuple, mapping or object that holds them.
        decoder_input_ids: (B, P), tokens that the outputs of each source begin with; the start token may be left out.
        logits_processor: callables that change the next token's scores: (tokens (R, L), scores (R, V)) -> (R, V).
        stopping_criteria: callables that end outputs: (tokens (R, L), scores of the steps or None) -> bool (R,).
        prefix_allowed_tokens_fn: (index of the source, tokens (L,)) -> the token ids that may come next.
        use_cache: False: decode the full output again for every token, which is slow, to check the cache.
        graphs: keeps CUDA graphs for the next search on a GPU that is given the same object.
        is_padded: whether any source is padded, if the caller knows; None: the host waits for the GPU to find out.
        draw_next: draws the next tokens (R,) from scores (R, V), in sampling without beams; None draws as transformers
            does, the same tokens from the same seed.
        search: settings that override the configuration's, see ``GenerationConfig`` for all of them; the special tokens
            ``bos_token_id``, ``pad_token_id``, ``eos_token_id`` (one or several) and ``decoder_start_token_id``; and
            ``generation_config``, a set of all these that is overridden in its turn.

    Returns:
        Token ids (B * num_return_sequences, L), a sentence's sequences together and best first, padded on the right;
        or, with ``return_dict_in_generate``, a ``GenerationOutput`` that holds them.

    Raises:
        InputError: an argument does not exist, is impossible, or contradicts another; or a source is too long.
    """
    # Resolve and check all arguments.
    config, given = model.config, flatten_call(search)
    sources = Sources(input_ids, attention_mask, encoder_outputs, config.pad_token_id, is_padded)
    special = resolve_special_tokens(config, given)
    prompt = _prompt(decoder_input_ids, sources, special.start, config.vocab_size)
    settings = resolve_settings(config, given, prompt.size(1))
    conditions = _as_list("stopping_criteria", stopping_criteria)
    if conditions and settings.num_beam_groups > 1:
        raise InputError("generate: stopping_criteria: groups of beams end by themselves; give num_beam_groups=1")
    if draw_next is not None and settings.num_beams > 1:
        raise InputError("generate: draw_next: is for sampling without beams; give num_beams=1 or leave it out")
    callers = CallersProcessors(_as_list("logits_processor", logits_processor), prefix_allowed_tokens_fn)
    _warn_of_unknown_sources(settings, sources)

    # Choose the strategy, and search.
    beams = settings.num_return_sequences if settings.num_beams == 1 else settings.num_beams
    if settings.num_beams == 1:
        prompt = prompt.repeat_interleave(beams, dim=0)
    strategy = partial(greedy_search_or_sampling, draw_next=draw_next) if settings.num_beams == 1 else beam_search
    may_shrink = not (conditions or callers.any)  # functions of the caller identify a sentence by its index
    assert settings.max_length is not None
    # torch makes streams, events and graphs on the current GPU, which may differ from the model's.
    with torch.cuda.device(sources.device) if sources.device.type == "cuda" else nullcontext():
        decoder: Decoder
        if use_cache is False:
            decoder = UncachedDecoder(model, sources, beams)
        else:
            decoder = StepDecoder(model, sources, beams, settings.max_length, graphs)
        processors = build_logits_processors(settings, input_ids, special, prompt.size(1), callers)
        is_common = not conditions and suits_static_search(settings, prompt, processors)
        if is_common and isinstance(decoder, StepDecoder) and decoder.captures:
            return graphed_search(decoder, prompt, settings, special, processors)
        output = strategy(decoder, prompt, settings, special, processors, conditions, may_shrink)
    return output if settings.return_dict_in_generate else output.sequences


def _prompt(decoder_input_ids: Tensor | None, sources: Sources, start: int, vocab_size: int) -> Tensor:
    """Return the tokens (B, P) that outputs begin with. Prepend the start token, unless a row already has it."""
    sentences = sources.shape[0]
    start_tokens = torch.full((sentences, 1), start, device=sources.device)
    if decoder_input_ids is None:
        return start_tokens
    if decoder_input_ids.dim() != 2 or len(decoder_input_ids) != sentences or decoder_input_ids.size(1) == 0:
        found = tuple(decoder_input_ids.shape)
        raise InputError(f"generate: decoder_input_ids has shape {found}; give a row of tokens for each source")
    if not 0 <= int(decoder_input_ids.min()) <= int(decoder_input_ids.max()) < vocab_size:
        raise InputError(f"generate: decoder_input_ids: a token is outside the vocabulary of {vocab_size}")
    given = decoder_input_ids.to(start_tokens)
    return torch.cat([start_tokens, given], 1) if bool((given[:, 0] != start).all()) else given


def _as_list(name: str, callables: Any) -> list[Any]:
    """Return one callable, several, or None as a list. Raises InputError for anything else."""
    if callable(callables) and not isinstance(callables, list):
        return [callables]
    given = list(callables or []) if isinstance(callables, Iterable | None) else [callables]
    if not all(map(callable, given)):
        raise InputError(f"generate: {name}: give a list of callables")
    return given


def _warn_of_unknown_sources(settings: GenerationConfig, sources: Sources) -> None:
    """Warn, as transformers does, about settings that need the source tokens if only the states are given."""
    if sources.input_ids is not None:
        return
    for name in ("encoder_repetition_penalty", "encoder_no_repeat_ngram_size"):
        if getattr(settings, name) != getattr(GenerationConfig, name):
            warnings.warn(f"generate: {name} has no effect without input_ids", UserWarning, stacklevel=4)
