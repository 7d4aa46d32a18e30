"""A search whose steps are CUDA graphs: the host launches them, and sees which sentences are done."""

from collections.abc import Sequence
from functools import partial

from torch import Tensor

from bart.configuration.generation_config import GenerationConfig
from bart.generation.active_sentences import ActiveSentences
from bart.generation.arguments import SpecialTokens
from bart.generation.logits_processors import LogitsProcessor
from bart.generation.static_search import static_search
from bart.generation.step_decoder import StepDecoder


def graphed_search(
    decoder: StepDecoder,
    prompt: Tensor,
    settings: GenerationConfig,
    special: SpecialTokens,
    processors: Sequence[LogitsProcessor],
) -> Tensor:
    """Search as ``beam_search`` and greedy search do, if ``suits_static_search`` says that it is possible.

    Args:
        decoder: the model with its B sources, which captures steps.
        prompt: (B, 1), the token that every output begins with.
        settings: with ``max_length``.
        special: the tokens that end and pad outputs.
        processors: applied to the scores of every step, in this order.

    Returns:
        The best ``num_return_sequences`` outputs of each sentence, best first: (N, L).
    """
    assert settings.max_length is not None
    name = f"{settings} {special}"  # all that a captured step depends on, beside the shapes
    search = decoder.search(
        name,
        partial(static_search, prompt=prompt, settings=settings, special=special, processors=processors),
    )
    search.start(prompt)
    active = ActiveSentences(len(prompt), prompt.device, may_shrink=True)
    for _ in range(1, settings.max_length):
        decoder.search_step(name)
        sentences = active.sentences
        compaction = active.report_flags(search.flags)
        if active.all_done:
            break
        if compaction is not None:
            search.take(sentences)
            compaction.apply([search, decoder])
    search.take(active.sentences)
    return search.best()
