"""A summarizer in Python: texts, lists and streams."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

import utils
from bart.errors import InputError
from bart.modeling.modeling_bart import BartForConditionalGeneration
from bart.tokenization.tokenization_bart import BartTokenizer
from tests.tiny_setup import TinySetup
from utils import Summarizer
from utils.data.splits import read_pairs
from utils.evaluation import generate
from utils.recipes import summarizer_device
from utils.recipes.summarizer_device import choose_device, choose_precision


@pytest.fixture(scope="module")
def summarizer(folder: Path) -> Summarizer:
    return Summarizer.from_pretrained(folder, device="cpu")


@pytest.fixture(scope="module")
def texts(setup: TinySetup) -> list[str]:
    """61 texts; some are empty, some longer than the model's positions."""
    texts = read_pairs(setup.data, "train").sources
    return [*texts[:3], "", *texts[4:7], " \n", *texts[8:12], " ".join(texts[:8]), *texts[13:]]


@pytest.fixture(scope="module")
def expected(summarizer: Summarizer, texts: list[str]) -> list[str]:
    summaries = [summarizer(text) for text in texts]
    assert len(set(summaries)) > 10
    return summaries


def test_one_text_a_list_and_a_stream(summarizer: Summarizer, texts: list[str], expected: list[str]) -> None:
    assert isinstance(summarizer(texts[0]), str)
    assert summarizer(texts) == summarizer(tuple(texts)) == expected
    for batches in ({}, {"batch_size": 4}, {"max_tokens_per_batch": 200}):
        stream = summarizer(iter(texts), **batches)
        assert iter(stream) is stream
        assert list(stream) == summarizer(texts, **batches) == expected
    assert list(summarizer.summarize_lists([texts[:5], [], texts[5:6]])) == [expected[:5], [], expected[5:6]]
    assert summarizer([]) == [] and list(summarizer(iter([]))) == []
    assert [expected[3], expected[7]] == ["", ""]


def test_a_stream_reads_no_more_than_it_needs(summarizer: Summarizer, texts: list[str], expected: list[str]) -> None:
    """Batches of 2: pools of 2, 4, 8 and 16 texts, of which one is read ahead."""
    given = []

    def endless() -> Iterator[str]:
        while True:
            given.append(len(given))
            yield texts[given[-1] % len(texts)]

    stream = summarizer(endless(), batch_size=2)
    time.sleep(0.1)
    assert given == []
    assert next(stream) == expected[0]
    time.sleep(0.3)
    assert len(given) == 2 + 4
    assert [next(stream) for _ in range(20)] == expected[1:21]
    time.sleep(0.3)
    assert len(given) == 2 + 4 + 8 + 16 + 32
    stream.close()

    # Without hurry, 32 batches are sorted at once from the beginning.
    given.clear()
    stream = summarizer(endless(), soon=False, batch_size=2)
    assert [next(stream) for _ in range(3)] == expected[:3]
    time.sleep(0.3)
    assert len(given) == 64 + 64
    stream.close()


def test_what_a_stream_raises_comes_after_the_summaries_before(
    summarizer: Summarizer, texts: list[str], expected: list[str]
) -> None:
    def broken() -> Iterator[str]:
        yield from texts[:5]
        raise OSError("the disk is gone")

    done = []
    with pytest.raises(OSError, match="the disk is gone"):
        done += [done.append(summary) for summary in summarizer(broken())]
    assert done == expected[:5]


def test_settings_of_a_search(summarizer: Summarizer, folder: Path, texts: list[str]) -> None:
    model = BartForConditionalGeneration.from_pretrained(folder)
    tokenizer = BartTokenizer.from_pretrained(folder)
    ids = torch.tensor([tokenizer(" " + texts[0], max_length=64, truncation=True)["input_ids"]])
    search = {"num_beams": 3, "max_length": 9, "no_repeat_ngram_size": 2}
    wanted = tokenizer.decode(model.generate(ids, **search)[0], skip_special_tokens=True).strip()
    cuts = Summarizer.from_pretrained(str(folder), long_documents="truncate", num_beams=3, max_length=30)
    assert cuts(texts[0], **search) == wanted
    assert cuts([texts[0]], num_beams=3, max_new_tokens=8, no_repeat_ngram_size=2) == [wanted]


def test_sampling_is_repeated_by_torchs_seed(summarizer: Summarizer, texts: list[str], expected: list[str]) -> None:
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append(summarizer(texts[:8], do_sample=True, num_beams=1, temperature=2.0))
    assert drawn[0] == drawn[1] != drawn[2]


def test_consensus(summarizer: Summarizer, folder: Path, texts: list[str], expected: list[str]) -> None:
    """By a callable that is called with candidates: the shortest is nearest to all others. Off again in a call."""
    shortest = {"rerank": "consensus", "rerank_utility": lambda text, _: 1 / len(text), "rerank_samples": 5}
    torch.manual_seed(1)
    chosen = summarizer(texts, **shortest)
    assert chosen != expected and sum(map(len, chosen)) < sum(map(len, expected))
    assert [chosen[3], chosen[7]] == ["", ""]
    torch.manual_seed(1)
    other = Summarizer.from_pretrained(folder, device="cpu", **shortest)
    assert other(texts) == chosen and other(texts, rerank="none") == expected
    beams = {"rerank": "consensus", "rerank_samples": 0, "num_beams": 4}
    assert summarizer(texts[0], **beams, rouge_tokenizer="unicode")
    assert list(summarizer(iter(texts[:3]), **beams)) == [summarizer(text, **beams) for text in texts[:3]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rerank": "best"}, "--rerank best: give one of none, consensus"),
        ({"rerank": "consensus", "rerank_utility": "bleu"}, "--rerank_utility bleu: give one of rouge1"),
        ({"rerank": "consensus", "rerank_samples": "many"}, "--rerank_samples many: give a number"),
        ({"rerank": "consensus", "rerank_samples": 2.5}, "--rerank_samples 2.5: give a number"),
        ({"rerank": "consensus", "rerank_temperature": float("inf")}, "--rerank_temperature inf: give a number"),
        ({"rerank": "consensus", "rerank_samples": -1}, "--rerank_samples -1: give a number from 0 up"),
        ({"rerank": "consensus", "rerank_samples": 0}, "2 beams and 0 samples are too few candidates"),
        ({"rerank_samples": 9}, "--rerank_samples 9: has no effect without --rerank consensus"),
        ({"rouge_tokenizer": "unicode"}, "--rouge_tokenizer unicode: has no effect without --rerank consensus"),
        ({"rerank": "consensus", "rouge_tokenizer": "any"}, "--rouge_tokenizer any: give one of ascii, unicode"),
        ({"num_beams": 0}, "num_beams=0"),
        ({"num_return_sequences": 2}, "--num_return_sequences 2: each text gets one summary"),
        ({"return_dict_in_generate": True}, "--return_dict_in_generate"),
        ({"max_length": 5, "max_new_tokens": 5}, "max_length and max_new_tokens exclude each other"),
        ({"beams": 3}, "there is no argument beams"),
        ({"batch_size": 0}, "--batch_size 0"),
        ({"max_tokens_per_batch": 0.5}, "--max_tokens_per_batch 0.5"),
    ],
)
def test_a_bad_setting_is_refused_before_the_first_text(
    summarizer: Summarizer, arguments: dict[str, object], message: str
) -> None:
    def untouched() -> Iterator[str]:
        raise AssertionError
        yield ""

    with pytest.raises(InputError, match=message) as refusal:
        summarizer(untouched(), **arguments)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"device": "cuda:7"}, "--device cuda:7"),
        ({"device": "tpu"}, "--device tpu: give cpu"),
        ({"precision": "fp8"}, "--precision fp8: give one of auto, fp32"),
        ({"precision": "fp16"}, "--precision fp16: needs a GPU"),
        ({"quantization": "int4"}, "--quantization int4: give one of int8"),
        ({"quantization": "int8", "precision": "bf16"}, "--quantization int8 and --precision bf16 exclude each other"),
        ({"max_source_length": 65}, "the model has 64 positions"),
        ({"max_source_length": 1}, "--max_source_length 1"),
        ({"long_documents": "cut"}, "--long_documents cut: give one of truncate, chunk"),
        ({"num_beams": 0}, "num_beams=0"),
        ({"tokenizer": "./nowhere"}, "./nowhere: no such folder"),
    ],
)
def test_what_a_model_cannot_do_is_refused_before_it_is_loaded(
    folder: Path, arguments: dict[str, object], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BartForConditionalGeneration, "from_pretrained", None)
    with pytest.raises(InputError, match=message) as refusal:
        Summarizer.from_pretrained(str(folder), **{"device": "cpu", **arguments})
    assert "\n" not in str(refusal.value)


def test_what_is_no_text_is_refused(summarizer: Summarizer, texts: list[str], expected: list[str]) -> None:
    with pytest.raises(InputError, match="one of them is None, which is no str"):
        summarizer([texts[0], None])
    with pytest.raises(InputError, match="lists: one of them is the text 'abc'"):
        list(summarizer.summarize_lists(["abc"]))
    done = []
    with pytest.raises(InputError, match="one of them is 5, which is no str"):
        done += [done.append(summary) for summary in summarizer(iter([*texts[:2], 5, texts[2]]))]
    assert done == expected[:2]


def test_half_a_character_is_refused_with_its_place(
    summarizer: Summarizer, texts: list[str], expected: list[str]
) -> None:
    half = "a \ud83d text"
    with pytest.raises(InputError, match=r"texts\[2\]: holds half a character \(U\+D83D\); remove it"):
        summarizer([*texts[:2], half, *texts[2:]])
    done = []
    with pytest.raises(InputError, match=r"texts\[5\]: holds half a character"):
        done += [done.append(summary) for summary in summarizer(iter([*texts[:5], half]), batch_size=2)]
    assert done == expected[:5]


def test_automatic_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_precision("auto", None, torch.device("cpu")) == "fp32"
    for has_bfloat16, chosen in ((True, "bf16"), (False, "fp16")):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation, has=has_bfloat16: has)
        assert choose_precision("auto", None, torch.device("cuda")) == chosen
    with pytest.raises(InputError, match="--precision bf16: this GPU has no bfloat16"):
        choose_precision("bf16", None, torch.device("cuda"))
    with pytest.raises(InputError, match="--quantization int8: is for the CPU"):
        choose_precision("auto", "int8", torch.device("cuda"))


def test_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device("auto") == torch.device("cuda")
    assert choose_device("cuda:1") == choose_device(torch.device("cuda", 1)) == torch.device("cuda", 1)
    with pytest.raises(InputError, match="--device cuda:2: this machine has 2 GPUs"):
        choose_device("cuda:2")


@pytest.mark.parametrize(("settings", "warned"), [({"precision": "bf16"}, True), ({"quantization": "int8"}, False)])
def test_other_precisions(
    folder: Path, texts: list[str], settings: dict[str, str], warned: bool, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.setattr(summarizer_device, "cpu_has_bfloat16", lambda: False)
    low = Summarizer.from_pretrained(str(folder), device="cpu", **settings)
    assert len(low(texts)) == len(texts)
    said = capsys.readouterr()
    assert said.out == "" and ("warning: --precision bf16" in said.err) == warned


def test_threads_may_share_it(summarizer: Summarizer, texts: list[str], expected: list[str]) -> None:
    """And no thread is left."""
    before = threading.active_count()

    def work(number: int) -> bool:
        part = slice(number, number + 20)
        if number % 2:
            return list(summarizer(iter(texts[part]), batch_size=3)) == expected[part]
        return summarizer(texts[part]) == expected[part]

    with ThreadPoolExecutor(6) as threads:
        assert all(threads.map(work, range(12)))
    end = time.monotonic() + 10
    while threading.active_count() > before and time.monotonic() < end:
        time.sleep(0.01)
    assert threading.active_count() <= before


def test_memory_that_runs_out_is_remembered_over_calls(
    summarizer: Summarizer, texts: list[str], expected: list[str], monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    """Rows beyond 4 at once do not fit; the error is torch's own."""
    tried: list[int] = []
    real = generate.pad_sources

    def limited(tokens, *arguments):
        tried.append(len(tokens))
        if len(tokens) > 4:
            torch.empty(2**60)
        return real(tokens, *arguments)

    monkeypatch.setattr(generate, "pad_sources", limited)
    assert summarizer(texts[:8], batch_size=8) == expected[:8]
    assert "going on with half as many" in capsys.readouterr().err
    tried.clear()
    assert summarizer(texts[:8], batch_size=8) == expected[:8]
    assert max(tried) <= 4 and "out of memory" not in capsys.readouterr().err


def test_a_bar_if_asked_for(summarizer: Summarizer, texts: list[str], capsys) -> None:
    summarizer(texts[:2])
    assert capsys.readouterr().err == ""
    summarizer(texts[:2], progress=True)
    assert "summarizing" in capsys.readouterr().err


def test_unknown_names_of_the_package() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Summariser'"):
        _ = utils.Summariser
