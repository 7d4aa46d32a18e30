"""Generate summaries of a split, score them, and write both."""

import json
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from bart.configuration.configuration_bart import BartConfig
from bart.configuration.generation_config import GenerationConfig
from bart.errors import InputError
from bart.modeling.modeling_bart import BartForConditionalGeneration

from ..data.chunking import read_sources
from ..data.model_vocabulary import smaller_vocabulary, unknown_tokens_text
from ..data.splits import Pairs
from ..data.tokens.token_array import TokenStore, tokenizer_state
from ..io.atomic_files import atomic_write, delete_atomically_written, make_folder
from ..io.json_files import latency_summary, read_json, write_json
from ..io.run_files import (
    BEAM_SEARCH_FOLDER,
    PAGE_FILE,
    all_generations_file,
    evaluation_files,
    generations_file,
    key_file,
    report_file,
    rows_file,
)
from ..runtime.evaluation_group import EvaluationGroup
from ..runtime.signals import Interrupted
from .bertscore import bertscore_text
from .degenerate_outputs import count_degenerate, degenerate_warning
from .examples import ScoredExamples
from .generate import BatchSize, Generations, generate
from .journal import Journal, Key, has_journal, json_digest, open_journal, texts_digest
from .rerank import Reranker
from .reranked_report import comparison_lines, plain_report, rerank_entry
from .rouge import ROUGE_TYPES
from .score_files import write_example_scores
from .scoring import ScoringSettings, load_bert_scorer, score_summaries


@dataclass
class EvaluationResult:
    """The report and the texts of an evaluation."""

    report: dict[str, Any]  # scores, speed and settings: the content of <split>_rouge.json
    examples: ScoredExamples | None  # None if the report was there already


@dataclass
class EvaluationSettings:
    """The settings of an evaluation."""

    split: str
    prefix: str  # put before every source
    batch_size: BatchSize
    max_source_length: int  # tokens
    long_documents: str  # "truncate" or "chunk"
    search: dict[str, Any]  # search settings that differ from the model's configuration
    scoring: ScoringSettings = field(default_factory=ScoringSettings)
    warm_up: bool = False  # generate the first batch once before the clock starts
    seed: int = 42  # of sampling
    resume: bool = False  # go on from the journal of an interrupted evaluation
    discard_other_journal: bool = False  # with resume: delete a journal of another evaluation instead of refusing it
    computation: dict[str, Any] = field(default_factory=dict)  # digest of the weights, precision: for the journal's key
    reranker: Reranker | None = None  # finds candidates and chooses among them, in place of the search

    def __post_init__(self) -> None:
        """Raise InputError if an evaluation is to go on that no journal can identify."""
        if self.resume and not self.can_be_resumed:
            raise InputError(
                "--resume: --rerank_utility is a function, and nothing tells whether the interrupted evaluation had "
                "the same one; evaluate without --resume"
            )

    @property
    def can_be_resumed(self) -> bool:
        """Whether a journal's key says all that the summaries depend on; what a function does it cannot say."""
        return self.reranker is None or self.reranker.has_named_utility

    def draws(self, config: BartConfig) -> bool:
        """Tell whether summaries depend on random draws."""
        samples = self.search.get("do_sample", config.do_sample)
        return samples or (self.reranker is not None and self.reranker.draws)


def evaluate(
    model: BartForConditionalGeneration,
    tokenizer: PreTrainedTokenizerBase,
    pairs: Pairs,
    settings: EvaluationSettings,
    folder: Path,
    facts: dict[str, Any],
    group: EvaluationGroup | None = None,
) -> EvaluationResult | None:
    """Generate and score summaries; write <split>_generations.txt, <split>_rouge.json and the scores of each example.

    With a ``reranker``, the same files of what the plain search found are in the folder beam_search.
    Files of an earlier evaluation are deleted first. Each process generates a share; the first one does the rest.
    Summaries go to a journal as they come; ``settings.resume`` goes on from there. The caller deletes the journals
    (``delete_journals``) when it has written all other results.

    Args:
        model: in evaluation mode, on its device.
        tokenizer: the model's.
        pairs: the split. Without targets nothing is scored, and <split>_key.json is written instead of
            <split>_rouge.json.
        settings: how to summarize and score.
        folder: the folder to write to.
        facts: further entries of the report.
        group: the processes that share the work; None if this process is alone.

    Returns:
        The result on the first process, None on the others.

    Raises:
        InputError: ``settings.resume`` finds a journal of another evaluation.
    """
    group = group or EvaluationGroup()
    split = settings.split
    in_pieces = settings.long_documents == "chunk"
    key = _key(model, tokenizer, pairs, settings)
    result_key = {**key, "targets": texts_digest(pairs.targets or []), **settings.scoring.key}

    # An evaluation that is complete is not done again.
    finished = _finished_report(folder, split, result_key) if settings.resume and group.rank == 0 else None
    finished = group.gather(finished)[0]
    if finished is not None:
        return EvaluationResult(finished, None) if group.rank == 0 else None

    # Every process generates its share of the sources; the first one gathers all.
    bert_scorer = load_bert_scorer(settings.scoring.bertscore, model.final_logits_bias.device, group)
    sources = read_sources(pairs.sources, tokenizer, settings.max_source_length, settings.prefix, in_pieces)
    tokens = sources.tokens.read_by(smaller_vocabulary(tokenizer, model.config))
    journal = open_journal(folder, split, key, settings.resume, group, settings.discard_other_journal)
    if group.rank == 0:  # after what may be refused
        _say_what_is_known(journal, settings, len(tokens))
        for name in (*evaluation_files(split), PAGE_FILE):
            delete_atomically_written(folder / name)
        with suppress(OSError):  # it is not there, or holds another split
            (folder / BEAM_SEARCH_FOLDER).rmdir()
    generations = _generate_all(model, tokenizer, tokens, settings, group, journal)
    if generations is None:
        return None

    # Put the texts in the order of the split, join those of pieces, and score them.
    texts = generations.texts
    in_order = sources.joined([texts[row] for row in range(len(tokens))])
    plain = None
    if settings.reranker is not None:
        plain = [written[1:] for written in in_order]
        in_order = [written[:1] for written in in_order]
    _write_generations(in_order, folder, split)
    systems = [[written[0] for written in found] for found in (in_order, plain) if found is not None]
    scored, *scored_plain = score_summaries(systems, pairs, settings.scoring, bert_scorer)
    of_reranking = {}
    if settings.reranker is not None:
        of_reranking["rerank"] = rerank_entry(settings.reranker.facts, scored_plain[0].quality)

    # The report: quality, speed, what was lost of the sources, and the settings.
    report = {
        **scored.quality,
        "degenerate_outputs": count_degenerate(texts, generations.repeating),
        "split": split,
        "n_obs": len(pairs),
        "latency_seconds": latency_summary(generations.seconds),  # per batch
        "sequences_per_second": len(pairs) / generations.longest_seconds,
        "device": model.final_logits_bias.device.type,
        "processes": group.count,
        "beams": settings.search.get("num_beams", model.config.num_beams),
        "batch_size": settings.batch_size.rows if settings.batch_size.tokens is None else None,
        "max_tokens_per_batch": settings.batch_size.tokens,
        "max_source_length": settings.max_source_length,
        "truncation": {
            "sources_cut": sources.truncation.cut_texts,
            "share_of_bytes_cut": sources.truncation.share_of_bytes,
        },
        "unknown_tokens": tokens.count_unknown(),  # in the sources, read as <unk>
        "long_documents": {
            "mode": settings.long_documents,
            "documents_in_pieces": sources.documents_in_pieces,
            "pieces": int(sources.pieces[sources.pieces > 1].sum()),
        },
        "search": {**model.config.search_settings(), **settings.search},
        **of_reranking,
        **facts,
        "key": result_key,  # of what was evaluated: --resume compares it
    }

    # The plain search has a folder of its own. The report, or the key, comes last: it says that all other files are
    # there.
    if plain is not None:
        make_folder(folder / BEAM_SEARCH_FOLDER, "SAVE_PATH")
        _write_generations(plain, folder / BEAM_SEARCH_FOLDER, split)
        _write_scores(folder / BEAM_SEARCH_FOLDER, split, pairs, scored_plain[0].scores, plain_report(report))
    rows = None if pairs.rows is None else pairs.rows.numbers
    if rows is not None:
        with atomic_write(folder / rows_file(split)) as file:
            file.writelines(f"{row + 1}\n" for row in rows)
    _write_scores(folder, split, pairs, scored.scores, report)
    if pairs.targets is None:
        write_json(folder / key_file(split), {"key": result_key})
    examples = ScoredExamples(pairs.sources, pairs.targets, systems[0], scored.scores, rows, scored.mentions)
    return EvaluationResult(report, examples)


def _key(
    model: BartForConditionalGeneration, tokenizer: PreTrainedTokenizerBase, pairs: Pairs, settings: EvaluationSettings
) -> Key:
    """Return all that the summaries depend on, but for their rounding: neither processes nor the size of batches.

    What is drawn at random depends on the batches, so then their size counts too.
    """
    apart = {*GenerationConfig.names(), "prefix"}  # below, as they were given
    shape = {name: value for name, value in model.config.to_dict().items() if name not in apart}
    search = {**model.config.search_settings(), **settings.search}
    batches = {"bs": settings.batch_size.rows, "max_tokens_per_batch": settings.batch_size.tokens}
    reranker = settings.reranker
    key = {
        "configuration": json_digest(shape),
        "tokenizer": json_digest(tokenizer_state(tokenizer)),
        "texts": texts_digest(pairs.sources),
        "prefix": settings.prefix,
        "max_source_length": settings.max_source_length,
        "long_documents": settings.long_documents,
        **search,
        **({} if reranker is None else {"rerank": reranker.facts}),
        **({"seed": settings.seed, **batches} if settings.draws(model.config) else {}),
        "device": model.final_logits_bias.device.type,
        **settings.computation,
    }
    return json.loads(json.dumps(key))  # as it is read from a file


def _finished_report(folder: Path, split: str, key: Key) -> dict[str, Any] | None:
    """Return the report of an evaluation with the same key if all of its results are there, else None."""
    path = folder / report_file(split)
    if has_journal(folder, split) or not path.exists() or not (folder / generations_file(split)).exists():
        return None
    report = read_json(path)
    if report.get("key") != key:
        return None
    print(f"{path}: is of this evaluation and complete; nothing is generated", flush=True)
    return report


def _say_what_is_known(journal: Journal, settings: EvaluationSettings, rows: int) -> None:
    """With ``resume``, print how many summaries the journals hold."""
    if settings.resume:
        known = len(journal.known_to_all)
        what = f"{known:,} of {rows:,} summaries are in the journal" if known else "there is no journal to go on from"
        print(f"{settings.split}: {what}", flush=True)


def _generate_all(
    model: BartForConditionalGeneration,
    tokenizer: PreTrainedTokenizerBase,
    tokens: TokenStore,
    settings: EvaluationSettings,
    group: EvaluationGroup,
    journal: Journal,
) -> Generations | None:
    """Generate this process's share, with a line about the journal if a signal ends it.

    Returns:
        The rows of all processes on the first one, None on the others.
    """
    try:
        own = generate(
            model,
            tokenizer,
            tokens,
            settings.batch_size,
            settings.search,
            group,
            settings.warm_up,
            journal,
            seed=settings.seed if settings.draws(model.config) else None,
            reranker=settings.reranker,
        )
        journal.sync()  # before the wait for slower processes
        parts = group.gather_to_first(own.rows)

        # From here the first process goes on alone: its journal gets all rows, those of the others are deleted.
        rows = {number: row for part in parts or [] for number, row in part.items()}
        if parts is not None:
            journal.append_missing(rows)
        group.gather(None)
        if parts is None:
            journal.delete()
            return None
        return Generations(rows)
    except Interrupted:
        if group.rank == 0 and settings.can_be_resumed:
            print("interrupted: the journal has what was generated; the same command with --resume goes on", flush=True)
        raise
    finally:
        journal.close()


def result_text(report: dict[str, Any]) -> str:
    """Describe a report for people: the scores in one line, then one line per problem.

    Problems are sources that are too long, tokens that the model does not know, and degenerate outputs.
    """
    scores = "  ".join(f"{name} {report[name]:.2f}" for name in ROUGE_TYPES if name in report)
    scores = scores or f"no scores, as there is no {report['split']}.target"
    score_line = f"{report['split']} ({report['n_obs']:,} examples, {report['beams']} beams): {scores}"
    unknown = report["unknown_tokens"]
    lines = [
        score_line,
        bertscore_text(report),
        *comparison_lines(report),
        _long_documents_text(report),
        f"in the sources {unknown_tokens_text(unknown)}" if unknown else None,
        degenerate_warning(report),
    ]
    return "\n".join(line for line in lines if line is not None)


def _long_documents_text(report: dict[str, Any]) -> str | None:
    cut, long = report["truncation"], report["long_documents"]
    beyond = f"longer than {report['max_source_length']:,} tokens"
    if long["documents_in_pieces"]:
        documents, pieces = long["documents_in_pieces"], long["pieces"]
        return f"{documents:,} sources {beyond}: summarized in {pieces:,} pieces"
    if cut["sources_cut"]:
        lost = f"{cut['share_of_bytes_cut']:.1%} of all bytes"
        return f"{cut['sources_cut']:,} sources {beyond}: cut, which drops {lost}"
    return None


def _write_generations(texts: list[list[str]], folder: Path, split: str) -> None:
    """Write the best summary of each source to the text file and, if there are several, all to a JSON Lines file."""
    with atomic_write(folder / generations_file(split)) as file:
        file.writelines(f"{written[0]}\n" for written in texts)
    if len(texts[0]) > 1:
        with atomic_write(folder / all_generations_file(split)) as file:
            file.writelines(json.dumps(written, ensure_ascii=False) + "\n" for written in texts)


def _write_scores(
    folder: Path, split: str, pairs: Pairs, scores: np.ndarray | None, report: dict[str, Any]
) -> None:
    """Write the scores of the examples and the report, if there are targets."""
    if pairs.targets is not None and scores is not None:
        write_example_scores(folder, split, pairs.targets, scores)
        write_json(folder / report_file(split), report)
