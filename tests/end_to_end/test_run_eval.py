"""What an evaluation writes, through the real command."""

import json
from pathlib import Path

import pytest
import torch

from bart.modeling.modeling_bart import BartForConditionalGeneration
from bart.tokenization.tokenization_bart import BartTokenizer
from tests.commands import run, run_as_torchrun
from tests.tiny_setup import TinySetup
from utils.commands.rewrite_pages import PageArguments, write_again
from utils.data.chunking import pieces
from utils.data.line_files import one_line, read_lines
from utils.data.splits import read_pairs
from utils.evaluation.rouge import rouge_scores
from utils.evaluation.summary_stats import summary_traits
from utils.io.json_files import read_json


def evaluate(model: Path, setup: TinySetup, folder: Path, *flags: str) -> dict[str, object]:
    run("run_eval.py", [str(model), str(setup.config), str(setup.data), str(folder), *flags], folder.parent / "log")
    split = flags[flags.index("--type_path") + 1] if "--type_path" in flags else "test"
    return read_json(folder / f"{split}_rouge.json")


def test_each_line_answers_its_line(setup: TinySetup, talkative_model: Path, tmp_path: Path) -> None:
    """Though the model saw the sources sorted, in batches: the same as one by one."""
    report = evaluate(talkative_model, setup, tmp_path / "out", "--bs", "3")
    model = BartForConditionalGeneration.from_pretrained(talkative_model)
    tokenizer = BartTokenizer.from_pretrained(setup.tokenizer)
    expected = []
    for source in read_pairs(setup.data, "test").sources:
        ids = torch.tensor([tokenizer(" " + source, max_length=64, truncation=True)["input_ids"]])
        expected.append(one_line(tokenizer.decode(model.generate(ids)[0], skip_special_tokens=True)))
    assert read_lines(tmp_path / "out" / "test_generations.txt") == expected and len(set(expected)) > 4
    assert report["n_obs"] == 7 and report["beams"] == 2 and report["precision"] == "fp32"
    assert report["scorer"]["scorer"].startswith("rouge-score ")
    assert report["latency_seconds"].keys() == {"mean", "p50", "p90", "p95", "p99"}
    assert report["sequences_per_second"] > 0
    assert report["search"]["max_length"] == 16 and report["search"]["no_repeat_ngram_size"] == 3


def test_the_shape_is_the_models_own(setup: TinySetup, whole_run: Path, tmp_path: Path) -> None:
    """As of a distilled model, evaluated with the configuration of the one that it was distilled from."""
    other = TinySetup(setup.data, setup.tokenizer, tmp_path / "other.json")
    other.config.write_text(json.dumps({**json.loads(setup.config.read_text()), "decoder_layers": 6, "num_beams": 3}))
    report = evaluate(whole_run / "best_tfmr", other, tmp_path / "out")
    assert report["beams"] == 3 and report["n_obs"] == 7


def test_a_checkpoint_is_evaluated_alone(setup: TinySetup, whole_run: Path, tmp_path: Path) -> None:
    """With the tokenizer beside it: the same generations and scores as its best_tfmr."""
    reports = [evaluate(whole_run / name, setup, tmp_path / name) for name in ("best_tfmr", "_epoch2_step20.ckpt")]
    texts = [(tmp_path / name / "test_generations.txt").read_text() for name in ("best_tfmr", "_epoch2_step20.ckpt")]
    assert texts[0] == texts[1]
    assert all(reports[0][name] == reports[1][name] for name in ("rouge1", "rouge2", "rougeL", "rougeLsum"))


def test_flags_beat_the_configuration(setup: TinySetup, whole_run: Path, tmp_path: Path) -> None:
    flags = [
        "--type_path",
        "val",
        "--n_obs",
        "5",
        "--eval_beams",
        "3",
        "--max_target_length",
        "9",
        "--length_penalty",
        "2",
    ]
    report = evaluate(whole_run / "best_tfmr", setup, tmp_path / "out", *flags, "--bf16")
    assert report["n_obs"] == 5 and report["precision"] == "bf16" and report["split"] == "val"
    search = report["search"]
    assert (search["num_beams"], search["max_length"], search["length_penalty"]) == (3, 9, 2.0)
    tokenizer = BartTokenizer.from_pretrained(setup.tokenizer)
    lines = read_lines(tmp_path / "out" / "val_generations.txt")
    assert len(lines) == 5 and all(len(tokenizer(line)["input_ids"]) <= 9 for line in lines)


def test_several_summaries_of_each_source(setup: TinySetup, whole_run: Path, tmp_path: Path) -> None:
    evaluate(whole_run / "best_tfmr", setup, tmp_path / "out", "--num_return_sequences", "2")
    best = read_lines(tmp_path / "out" / "test_generations.txt")
    both = [json.loads(line) for line in read_lines(tmp_path / "out" / "test_generations.jsonl")]
    assert [texts[0] for texts in both] == best and all(len(texts) == 2 for texts in both)
    evaluate(whole_run / "best_tfmr", setup, tmp_path / "out")
    assert not (tmp_path / "out" / "test_generations.jsonl").exists()


def test_shuffled_sources_and_another_prefix(setup: TinySetup, whole_run: Path, tmp_path: Path) -> None:
    """The n-th source is answered on another line: generations are those of the sources, moved."""
    evaluate(whole_run / "best_tfmr", setup, tmp_path / "plain")
    report = evaluate(whole_run / "best_tfmr", setup, tmp_path / "moved", "--shuffle_sources")
    plain, moved = (read_lines(tmp_path / name / "test_generations.txt") for name in ("plain", "moved"))
    assert report["shuffled_sources"] is True and sorted(plain) == sorted(moved)
    (tmp_path / "same").mkdir()
    prefixed = evaluate(whole_run / "best_tfmr", setup, tmp_path / "prefix", "--prefix", "summarize this: ")
    assert prefixed["n_obs"] == 7


def test_a_task_brings_its_search(setup: TinySetup, whole_run: Path, tmp_path: Path) -> None:
    config = json.loads(setup.config.read_text())
    config["task_specific_params"] = {"summarization": {"num_beams": 3, "length_penalty": 2.0, "prefix": "x"}}
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config))
    setup_with_task = TinySetup(setup.data, setup.tokenizer, path)
    report = evaluate(whole_run / "best_tfmr", setup_with_task, tmp_path / "a", "--task", "summarization")
    assert report["beams"] == 3 and report["search"]["length_penalty"] == 2.0
    report = evaluate(
        whole_run / "best_tfmr", setup_with_task, tmp_path / "a", "--task", "summarization", "--eval_beams", "1"
    )
    assert report["beams"] == 1


@pytest.mark.parametrize("seed", ["1"])
def test_sampling_is_seeded(setup: TinySetup, whole_run: Path, tmp_path: Path, seed: str) -> None:
    flags = ["--do_sample", "--eval_beams", "1", "--top_k", "0", "--no_repeat_ngram_size", "0"]
    texts = []
    for folder, given in (("a", seed), ("b", seed), ("c", "2")):
        evaluate(whole_run / "best_tfmr", setup, tmp_path / folder, *flags, "--seed", given)
        texts.append((tmp_path / folder / "test_generations.txt").read_text())
    assert texts[0] == texts[1] != texts[2]


def test_long_documents_in_pieces(setup: TinySetup, talkative_model: Path, tmp_path: Path) -> None:
    """By one process and two, with one summary of each and two. A document that fits is answered as without."""
    model = talkative_model
    talkative = BartForConditionalGeneration.from_pretrained(model)
    flags = ["--bs", "3", "--max_source_length", "40"]
    cut = evaluate(model, setup, tmp_path / "cut", *flags)
    chunked = evaluate(model, setup, tmp_path / "chunk", *flags, "--long_documents", "chunk")
    tokenizer = BartTokenizer.from_pretrained(setup.tokenizer)
    expected, counts = [], []
    for source in read_pairs(setup.data, "test").sources:
        parts = [torch.tensor([part.tolist()]) for part in pieces(source, tokenizer, 40, " ")]
        counts.append(len(parts))
        written = [tokenizer.decode(talkative.generate(part)[0], skip_special_tokens=True) for part in parts]
        expected.append(" ".join(one_line(text) for text in written))
    lines = {name: read_lines(tmp_path / name / "test_generations.txt") for name in ("cut", "chunk")}
    assert lines["chunk"] == expected and len(set(expected)) > 5
    fitting = [row for row, count in enumerate(counts) if count == 1]
    long = [row for row, count in enumerate(counts) if count > 1]
    assert len(fitting) > 1 and len(long) > 1
    assert [lines["cut"][row] for row in fitting] == [lines["chunk"][row] for row in fitting]
    assert cut["truncation"]["sources_cut"] == len(long) and 0 < cut["truncation"]["share_of_bytes_cut"] < 1
    assert cut["long_documents"] == {"mode": "truncate", "documents_in_pieces": 0, "pieces": 0}
    in_pieces = {"documents_in_pieces": len(long), "pieces": sum(counts[row] for row in long)}
    assert chunked["long_documents"] == {"mode": "chunk", **in_pieces}
    assert chunked["truncation"] == {"sources_cut": 0, "share_of_bytes_cut": 0} and chunked["n_obs"] == 7
    output = (tmp_path / "log").read_text()
    assert f"{len(long)} sources longer than 40 tokens: summarized in {in_pieces['pieces']} pieces\n" in output

    common = [str(model), str(setup.config), str(setup.data), str(tmp_path / "two"), "--bs", "3", "--n_obs", "5"]
    common += ["--long_documents", "chunk", "--max_source_length", "40", "--num_return_sequences", "2"]
    run_as_torchrun("run_eval.py", common, tmp_path / "log", processes=2)
    both = [json.loads(line) for line in read_lines(tmp_path / "two" / "test_generations.jsonl")]
    assert [texts[0] for texts in both] == expected[:5] and all(len(texts) == 2 for texts in both)


def test_without_a_target_file_nothing_is_scored(setup: TinySetup, whole_run: Path, tmp_path: Path) -> None:
    """The same ones; what an earlier evaluation scored there is gone."""
    folder = tmp_path / "out"
    evaluate(whole_run / "best_tfmr", setup, folder)
    with_targets = (folder / "test_generations.txt").read_text()
    data = tmp_path / "data"
    data.mkdir()
    (data / "test.source").write_bytes((setup.data / "test.source").read_bytes())
    arguments = [str(whole_run / "best_tfmr"), str(setup.config), str(data), str(folder)]
    output = run("run_eval.py", arguments, tmp_path / "log")
    assert "no scores, as there is no test.target" in output
    assert (folder / "test_generations.txt").read_text() == with_targets
    assert {path.name for path in folder.iterdir()} == {"test_generations.txt", "test_key.json", "results.html"}


def test_the_splitter_of_sentences_is_recorded(setup: TinySetup, talkative_model: Path, tmp_path: Path) -> None:
    """Scored again by hand from what was written; rougeLsum alone depends on it."""
    references = read_pairs(setup.data, "test").targets
    reports = {}
    for splitter in ("period", "nupunkt", "newline"):
        folder = tmp_path / splitter
        reports[splitter] = evaluate(talkative_model, setup, folder, "--rouge_sentence_splitter", splitter)
        assert reports[splitter]["scorer"]["splitter"].split()[0] == splitter
        expected = rouge_scores(read_lines(folder / "test_generations.txt"), references, splitter)
        assert {name: reports[splitter][name] for name in expected} == expected
    assert evaluate(talkative_model, setup, tmp_path / "default")["scorer"]["splitter"] == "period"


def test_the_report_says_what_the_summaries_are_like(setup: TinySetup, talkative_model: Path, tmp_path: Path) -> None:
    report = evaluate(talkative_model, setup, tmp_path / "out")
    pairs = read_pairs(setup.data, "test")
    written = read_lines(tmp_path / "out" / "test_generations.txt")
    assert report["traits"] == summary_traits(pairs.sources, [written], pairs.targets)[0].entry
    # A target is the first line of its source: nothing in it is new.
    assert report["traits"]["references"]["novel_ngrams"]["1"] == 0


def test_the_page_can_be_written_anew(setup: TinySetup, talkative_model: Path, tmp_path: Path) -> None:
    """From the folder alone it is the same to the byte, also with sources in other places."""
    for name, flags in (("plain", ()), ("moved", ("--shuffle_sources", "--seed", "3"))):
        folder = tmp_path / name
        evaluate(talkative_model, setup, folder, *flags)
        page = (folder / "results.html").read_bytes()
        (folder / "results.html").unlink()
        write_again(PageArguments(results=str(folder)))
        assert (folder / "results.html").read_bytes() == page
