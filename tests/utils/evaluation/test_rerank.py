"""Re-ranking: candidates from one encoding, the choice among them, and what an evaluation writes of it."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bart.errors import InputError
from bart.modeling.modeling_bart import BartForConditionalGeneration
from bart.tokenization.tokenization_bart import BartTokenizer
from tests.kills import Killed, kill_after_appends
from tests.tiny_setup import tiny_config
from utils.cli.rerank_args import RerankSettings
from utils.data.chunking import read_sources
from utils.data.line_files import read_lines
from utils.data.splits import Pairs
from utils.evaluation import names_and_numbers, scoring
from utils.evaluation.consensus import ConsensusChooser
from utils.evaluation.evaluate import EvaluationSettings, result_text
from utils.evaluation.generate import BatchGenerator, BatchSize, generate
from utils.evaluation.journal import texts_digest
from utils.evaluation.paired_bootstrap import paired_comparison
from utils.evaluation.rerank import Reranker
from utils.io.json_files import read_json
from utils.recipes.evaluate import evaluate_and_write
from utils.runtime.evaluation_group import EvaluationGroup

SEARCH = {"num_beams": 4, "max_length": 12}
CONSENSUS = RerankSettings("consensus", rerank_samples=6, rerank_temperature=1.5)
PAIRS = Pairs(
    [f"text number {row} of names and files " * (row % 5 + 1) for row in range(14)], ["a text of names"] * 14
)


def rouge1(candidate: str, reference: str) -> float:
    """A user's own utility, with the name of another one."""
    return 1 / (1 + abs(len(candidate) - len(reference)))


@pytest.fixture
def model() -> BartForConditionalGeneration:
    torch.manual_seed(0)
    return BartForConditionalGeneration(tiny_config().copy(init_std=0.3)).eval()


def reranker(settings: RerankSettings = CONSENSUS, **search: Any) -> Reranker:
    return Reranker(tiny_config(), {**SEARCH, **search}, settings, keep_plain=True)


def candidates_of(
    model: BartForConditionalGeneration, tokenizer: BartTokenizer, rerank: Reranker | None, count: int = 3
) -> torch.Tensor:
    """Search for the candidates of some sources of different lengths: (count, candidates, tokens)."""
    tokens = read_sources(PAIRS.sources[:count], tokenizer, 64, " ", False).tokens
    search = SEARCH if rerank else {**SEARCH, "num_return_sequences": 4}
    ((_, sequences, _),) = BatchGenerator(model, tokens, search, seed=1, reranker=rerank).search(np.arange(count))
    return sequences.view(count, -1, sequences.size(1))


def test_candidates_are_beams_then_samples_of_one_encoding(
    model: BartForConditionalGeneration, tokenizer: BartTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    beams = candidates_of(model, tokenizer, None)
    encoded, forward = [], model.model.encoder.forward

    def noted(*given: Any) -> torch.Tensor:
        encoded.append(len(given[0]))
        return forward(*given)

    monkeypatch.setattr(model.model.encoder, "forward", noted)
    found = candidates_of(model, tokenizer, reranker())
    assert encoded == [3] and found.shape[:2] == (3, 10)
    assert torch.equal(found[:, :4, : beams.size(2)], beams) and (found[:, :4, beams.size(2) :] == 1).all()
    assert all(len({tuple(row.tolist()) for row in samples}) > 3 for samples in found[:, 4:])
    assert torch.equal(candidates_of(model, tokenizer, reranker()), found)


def test_samples_obey_the_rules_of_the_search(model: BartForConditionalGeneration, tokenizer: BartTokenizer) -> None:
    rules = {"min_length": 9, "forced_bos_token_id": 7, "bad_words_ids": [[9]], "no_repeat_ngram_size": 1}
    samples = candidates_of(model, tokenizer, reranker(**rules))[:, 4:]
    assert (samples[:, :, 1] == 7).all() and not (samples == 9).any()
    written = [[token for token in row if token > 3] for row in samples.flatten(0, 1).tolist()]
    assert all(len(set(row)) == len(row) >= 6 for row in written)


@pytest.mark.parametrize(
    ("device", "sources", "samples", "shares"),
    [
        ("cpu", 1, 300, [150, 150]),
        ("cpu", 64, 32, [4] * 8),
        ("cpu", 1000, 3, [1, 1, 1]),
        ("cuda", 64, 31, [15, 16]),
        ("cuda", 1, 32, [16, 16]),
        ("cpu", 9, 0, []),
    ],
)
def test_samples_are_drawn_in_portions(device: str, sources: int, samples: int, shares: list[int]) -> None:
    """256 rows at once; on a GPU as many as the beams take."""
    rerank = reranker(replace(CONSENSUS, rerank_samples=samples), num_beams=16)
    searches = rerank._searches(sources, torch.device(device))
    assert [search["num_return_sequences"] for search in searches] == [16, *shares]


@pytest.mark.parametrize("beams", [None, 2, 0])
def test_the_choice_among_the_pool(beams: int | None) -> None:
    """The plain search comes first; without beams it is no candidate."""
    rerank = reranker(replace(CONSENSUS, rerank_beams=beams, rerank_utility="rouge2"))
    texts = ["the plain one", *["a b", "c d", "a b c", "d", "a b c d", "x y"]]
    pool = texts if beams != 0 else texts[1:]
    assert rerank.choose([texts, texts]) == [texts.index(pool[ConsensusChooser("rouge2").choose([pool])[0]])] * 2
    assert rerank.choose([["a b", *["x y"] * 6]])[0] > 0 and rerank.choose([["a b"] * 7]) == [int(beams == 0)]


@pytest.mark.parametrize(
    ("rerank", "search", "message"),
    [
        ({}, {"do_sample": True}, "leave out --do_sample"),
        ({}, {"num_return_sequences": 2}, "--num_return_sequences 2: --rerank consensus chooses one summary"),
        ({}, {"temperature": 0.9}, "--temperature 0.9: give --rerank_temperature"),
        ({}, {"top_p": 2.0}, "top_p=2.0"),
        ({"rerank_samples": 0}, {"top_p": 0.5}, "top_p=0.5 needs do_sample=True"),
        ({"rerank_beams": 5}, {}, "--rerank_beams 5: the search has 4 beams; give --num_beams 5"),
        ({"rerank_samples": 0}, {"num_beams": 2}, "2 beams and 0 samples are too few candidates"),
        ({"rerank_samples": 2, "rerank_beams": 0}, {}, "0 beams and 2 samples are too few candidates"),
    ],
)
def test_what_is_impossible_is_refused(rerank: dict[str, Any], search: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as refusal:
        reranker(replace(CONSENSUS, **rerank), **search)
    assert "\n" not in str(refusal.value)


def evaluated(
    model: BartForConditionalGeneration,
    tokenizer: BartTokenizer,
    folder: Path,
    rerank: Reranker | None,
    pairs: Pairs = PAIRS,
    **settings: Any,
) -> str:
    """Evaluate, and return what is printed."""
    folder.mkdir(exist_ok=True)
    chosen = EvaluationSettings("test", " ", BatchSize(4), 64, "truncate", SEARCH, reranker=rerank, **settings)
    result = evaluate_and_write(model, tokenizer, pairs, chosen, folder, {"model": "m"})
    assert result is not None
    return result_text(result.report)


def test_what_an_evaluation_writes(
    model: BartForConditionalGeneration, tokenizer: BartTokenizer, tmp_path: Path
) -> None:
    """The plain search's own files are what an evaluation without re-ranking writes."""
    evaluated(model, tokenizer, tmp_path / "plain", None)
    pairs = replace(PAIRS, targets=read_lines(tmp_path / "plain" / "test_generations.txt"))  # so that scores differ
    evaluated(model, tokenizer, tmp_path / "plain", None, pairs)
    folder = tmp_path / "reranked"
    said = evaluated(model, tokenizer, folder, reranker(), pairs).splitlines()
    for name in ("test_generations.txt", "test_example_scores.json"):
        assert (folder / "beam_search" / name).read_bytes() == (tmp_path / "plain" / name).read_bytes()
        assert (folder / name).read_bytes() != (tmp_path / "plain" / name).read_bytes()

    # The report, what is printed and the page name the method, and have both scores.
    report, plain = read_json(folder / "test_rouge.json"), read_json(tmp_path / "plain" / "test_rouge.json")
    entry = report["rerank"]
    facts = {"method": "consensus", "utility": "rouge1", "beams": 4, "samples": 6, "temperature": 1.5}
    assert {name: entry[name] for name in facts} == facts and "favours itself" in entry["note"]
    of_plain = {name: plain[name] for name in ("rouge1", "rouge2", "rougeL", "rougeLsum", "traits", "intervals_95")}
    assert {name: entry["beam_search"][name] for name in of_plain} == of_plain
    below = read_json(folder / "beam_search" / "test_rouge.json")
    assert below.items() >= of_plain.items() and "rerank" not in below and below["model"] == "m"
    assert "rerank" not in plain and not (tmp_path / "plain" / "beam_search").exists()
    method = "re-ranked by consensus (rouge1) of 4 beams and 6 samples at temperature 1.5"
    assert said[1] == f"{method}:" and said[5] == entry["note"]
    assert said[3].split()[1] == f"{report['rouge1']:.2f}" and said[4].split()[2] == f"{plain['rouge1']:.2f}"
    page = (folder / "results.html").read_text(encoding="utf-8")
    assert f"this run, {method}" in page and entry["note"] in page and "beam search alone, without re-ranking" in page
    compared = paired_comparison(folder / "beam_search", folder, "test")["scores"]["rouge1"]
    assert (compared["first"], compared["second"]) == (plain["rouge1"], report["rouge1"])

    # An evaluation without re-ranking leaves nothing of it.
    evaluated(model, tokenizer, folder, None, pairs)
    assert {path.name for path in folder.iterdir()} == {path.name for path in (tmp_path / "plain").iterdir()}


def test_each_text_is_measured_once(
    model: BartForConditionalGeneration, tokenizer: BartTokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For the traits of both searches and of the references, and for the page."""
    read, split = [], []
    read_source, words = names_and_numbers._words_and_numbers, scoring.words
    monkeypatch.setattr(
        names_and_numbers, "_words_and_numbers", lambda source: [read.append(source), read_source(source)][1]
    )
    monkeypatch.setattr(scoring, "words", lambda text: [split.append(text), words(text)][1])
    pairs = replace(PAIRS, targets=[f"the text {row} of Rome" for row in range(14)])
    evaluated(model, tokenizer, tmp_path, reranker(), pairs)
    assert read == pairs.sources
    written = [read_lines(tmp_path / folder / "test_generations.txt") for folder in (".", "beam_search")]
    assert sorted(split) == sorted([*pairs.sources, *pairs.targets, *written[0], *written[1]])


def test_without_targets(model: BartForConditionalGeneration, tokenizer: BartTokenizer, tmp_path: Path) -> None:
    said = evaluated(model, tokenizer, tmp_path, reranker(), replace(PAIRS, targets=None))
    assert "rouge1 " not in said and "beam search" in said and "words" in said
    assert len(read_lines(tmp_path / "beam_search" / "test_generations.txt")) == 14
    assert [path.name for path in tmp_path.rglob("*.json")] == ["test_key.json"]
    assert read_json(tmp_path / "test_key.json")["key"]["texts"] == texts_digest(PAIRS.sources)


def killed(
    model: BartForConditionalGeneration,
    tokenizer: BartTokenizer,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    rerank: Reranker | None = None,
) -> None:
    """Evaluate until two batches are in the journal."""
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_after_appends(patch, 2)
        evaluated(model, tokenizer, folder, rerank or reranker())


def test_a_killed_evaluation_goes_on(
    model: BartForConditionalGeneration, tokenizer: BartTokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same bytes of both searches. Other settings are refused."""
    evaluated(model, tokenizer, tmp_path / "whole", reranker())
    killed(model, tokenizer, tmp_path / "killed", monkeypatch)
    others: list[tuple[Reranker | None, dict[str, Any], str]] = [
        (None, {}, "rerank"),
        (reranker(replace(CONSENSUS, rerank_utility="mean")), {}, "rerank"),
        (reranker(replace(CONSENSUS, rerank_temperature=1.4)), {}, "rerank"),
        (reranker(), {"seed": 7}, "seed 42, now 7"),
    ]
    for other, settings, named in others:
        with pytest.raises(InputError, match=f"is of another evaluation .*{named}"):
            evaluated(model, tokenizer, tmp_path / "killed", other, resume=True, **settings)
    for cut in (1, 500):  # bytes at the end of the journal, which has to be there
        (journal,) = (tmp_path / "killed").glob("*journal*")
        journal.write_bytes(journal.read_bytes()[:-cut])
        evaluated(model, tokenizer, tmp_path / "killed", reranker(), resume=True)
        for name in ("test_generations.txt", "test_example_scores.json"):
            for path in (name, f"beam_search/{name}"):
                assert (tmp_path / "killed" / path).read_bytes() == (tmp_path / "whole" / path).read_bytes()
        killed(model, tokenizer, tmp_path / "killed", monkeypatch)


def test_what_a_function_has_chosen_is_not_resumed(
    model: BartForConditionalGeneration, tokenizer: BartTokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither with a function, which may do something else by now, nor with the utility that has its name."""
    by_function = reranker(replace(CONSENSUS, rerank_utility=rouge1))
    killed(model, tokenizer, tmp_path, monkeypatch, by_function)
    (journal,) = tmp_path.glob("*journal*")
    kept = journal.read_bytes()
    with pytest.raises(InputError, match=r"^--resume: --rerank_utility is a function, .*; evaluate without --resume"):
        evaluated(model, tokenizer, tmp_path, by_function, resume=True)
    with pytest.raises(InputError, match=r"is of another evaluation .*rerank"):
        evaluated(model, tokenizer, tmp_path, reranker(), resume=True)
    assert journal.read_bytes() == kept
    said = evaluated(model, tokenizer, tmp_path, by_function)
    assert "re-ranked by consensus (function rouge1) of 4 beams" in said
    assert reranker(replace(CONSENSUS, rerank_utility=partial(rouge1))).facts["utility"] == "function partial"


def test_two_processes_choose_the_same(model: BartForConditionalGeneration, tokenizer: BartTokenizer) -> None:
    tokens = read_sources(PAIRS.sources, tokenizer, 64, " ", False).tokens

    def texts(rank: int, count: int) -> dict[int, list[str]]:
        group = EvaluationGroup(rank, count)
        found = generate(model, tokenizer, tokens, BatchSize(4), SEARCH, group, seed=3, reranker=reranker())
        return found.texts

    alone = texts(0, 1)
    assert {**texts(0, 2), **texts(1, 2)} == alone
    assert all(len(both) == 2 for both in alone.values()) and any(chosen != plain for chosen, plain in alone.values())


def test_the_report_counts_degenerate_outputs_of_the_chosen(
    model: BartForConditionalGeneration, tokenizer: BartTokenizer, tmp_path: Path
) -> None:
    """The plain outputs are sound, the chosen ones repeat <s>."""
    rerank = reranker()
    choose: Callable[..., list[int]] = lambda texts: [9] * len(texts)  # noqa: E731
    rerank.choose = choose  # type: ignore[method-assign]
    find = rerank.find_candidates

    def with_specials(*given: Any, **how: Any) -> torch.Tensor:
        found = find(*given, **how)
        found[9::10, 1:4] = 0
        return found

    rerank.find_candidates = with_specials  # type: ignore[method-assign]
    said = evaluated(model, tokenizer, tmp_path, rerank)
    assert "14 of 14 outputs (100.0%) repeat special tokens (14)" in said
