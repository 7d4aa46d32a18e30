"""The settings of a summarizer, and what a call of it does with them: the search, and the batches."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

from bart.configuration.configuration_bart import BartConfig
from bart.configuration.generation_config import GenerationConfig
from bart.errors import InputError
from bart.generation.arguments import check_call

from ..cli.rerank_args import RerankAloneSettings
from ..cli.shared_args import LONG_DOCUMENTS, checked_length, output_limit
from ..evaluation.generate import BatchSize
from ..evaluation.rerank import Reranker
from ..evaluation.token_budget import TokenBudget

_BATCHES_OF_POOL = 32  # that a stream sorts by length together
_CHARACTERS_PER_TOKEN = 4  # about so many in English
_RERANK_NAMES = [entry.name for entry in fields(RerankAloneSettings)]


@dataclass(frozen=True)
class FixedSettings:
    """What does not change from call to call."""

    max_source_length: int
    in_pieces: bool
    search: dict[str, Any]

    @classmethod
    def checked(
        cls, config: BartConfig, max_source_length: int | None, long_documents: str, search: dict[str, Any]
    ) -> Self:
        """Return the settings for a model. Raises InputError if one is impossible with it."""
        if long_documents not in LONG_DOCUMENTS:
            raise InputError(f"--long_documents {long_documents}: give one of {', '.join(LONG_DOCUMENTS)}")
        length = config.max_position_embeddings if max_source_length is None else max_source_length
        if not isinstance(length, int) or length < 2:
            raise InputError(f"--max_source_length {length}: give a number from 2 up")
        resolve_search(config, search)
        return cls(checked_length("max_source_length", length, config), long_documents == "chunk", search)


@dataclass(frozen=True)
class CallPlan:
    """How the texts of a call are searched."""

    batches: BatchSize | TokenBudget
    search: dict[str, Any]
    reranker: Reranker | None

    def pools(self, texts: Iterable[str], soon: bool) -> Iterator[list[str]]:
        """Cut a stream into lists of about as many texts as some batches hold.

        Args:
            texts: the stream.
            soon: begin with one batch, then take ever more, so that the first summaries come soon.

        Raises:
            Exception: what ``texts`` raises, after the texts before.
        """
        most, pool, size, failure = 1 if soon else _BATCHES_OF_POOL, list[str](), 0.0, None
        texts = iter(texts)
        while True:
            try:
                text = next(texts)
            except StopIteration:
                break
            except Exception as error:
                failure = error
                break
            pool.append(text)
            size += self._share_of_batch(text)
            if size >= most:
                yield pool
                most, pool, size = min(2 * most, _BATCHES_OF_POOL), [], 0.0
        if pool:
            yield pool
        if failure is not None:
            raise failure

    def _share_of_batch(self, text: str) -> float:
        """Estimate which part of a batch a text takes, from its length."""
        if self.batches.tokens is None:
            return 1 / self.batches.rows
        more = self.batches.row_tokens if isinstance(self.batches, TokenBudget) else 0
        return (len(text) / _CHARACTERS_PER_TOKEN + more + 1) / self.batches.tokens


def checked_text(index: int, text: object) -> str:
    """Return a text, the one at ``index``. Raises InputError if it is something else, or holds half a character."""
    if not isinstance(text, str):
        raise InputError(f"texts: one of them is {text!r:.60}, which is no str; give only texts")
    try:
        text.encode()
    except UnicodeEncodeError as error:  # the tokenizer would refuse all texts with it
        raise InputError(
            f"texts[{index}]: holds half a character (U+{ord(text[error.start]):04X}); remove it"
        ) from None
    return text


def resolve_search(
    config: BartConfig, settings: Mapping[str, Any]
) -> tuple[dict[str, Any], GenerationConfig, Reranker | None]:
    """Check settings of the search and of re-ranking, and complete them for one summary of each text.

    Returns:
        The arguments of ``generate``, all settings that result, and what chooses among candidates if that is asked for.

    Raises:
        InputError: A setting is impossible, or asks for something else than one summary.
    """
    rerank = RerankAloneSettings.checked({name: settings[name] for name in _RERANK_NAMES if name in settings})
    search = {name: value for name, value in settings.items() if name not in _RERANK_NAMES}
    chosen = {"num_return_sequences": 1, "return_dict_in_generate": False, **search}
    if chosen.get("max_length") is not None and chosen.get("max_new_tokens") is None:
        chosen |= output_limit(chosen["max_length"])
    reranker = Reranker(config, chosen, rerank, tokenizer=rerank.rouge_tokenizer) if rerank.is_on else None
    resolved = check_call(config, chosen) if reranker is None else reranker.plain_settings
    if resolved.num_return_sequences != 1:
        raise InputError(
            f"--num_return_sequences {resolved.num_return_sequences}: each text gets one summary; run_eval.py and "
            "the model's generate give several"
        )
    for name in ("return_dict_in_generate", "output_scores", "output_logits"):
        if chosen.get(name):
            raise InputError(f"--{name}: only summaries are returned; use the model's generate")
    return chosen, resolved, reranker


def override(search: Mapping[str, Any], by: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with others that override them.

    A longest output overrides the other way to say it, too, and ``rerank="none"`` all settings of re-ranking.
    """
    kept = dict(search)
    if by.get("rerank") == "none":
        kept = {key: value for key, value in kept.items() if key not in _RERANK_NAMES}
    for name, other in (("max_length", "max_new_tokens"), ("min_length", "min_new_tokens")):
        if by.get(name) is not None or by.get(other) is not None:
            kept = {key: value for key, value in kept.items() if key not in (name, other)}
    return {**kept, **by}
