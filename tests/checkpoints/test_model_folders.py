"""Files of a model folder that are bad in ways that were met: refused by the programs in one line that names them."""

import json
import resource
from pathlib import Path
from typing import Any

import pytest

from bart.configuration.configuration_bart import BartConfig
from bart.configuration.generation_config import GenerationConfig
from bart.errors import InputError
from bart.modeling.modeling_bart import BartForConditionalGeneration
from bart.tokenization.tokenization_bart import BartTokenizer
from tests.tiny_setup import tiny_config, write_random_model, write_tiny_setup


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    setup = write_tiny_setup(tmp_path_factory.mktemp("setup"))
    return write_random_model(setup, tmp_path_factory.mktemp("written") / "model")


@pytest.fixture
def folder(written: Path, tmp_path: Path) -> Path:
    """A model folder of which each file may be replaced."""
    for path in written.iterdir():
        (tmp_path / path.name).hardlink_to(path)
    return tmp_path


def write(path: Path, content: Any) -> None:
    path.unlink(missing_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())


def refusal(folder: Path) -> str:
    """Load a model and its tokenizer; return the line that refuses one of them."""
    with pytest.raises(InputError) as refused:
        BartForConditionalGeneration.from_pretrained(folder)
        BartTokenizer.from_pretrained(folder)
    said = str(refused.value)
    assert said.splitlines() == [said] and said.startswith(str(folder))
    return said.removeprefix(f"{folder}/")


@pytest.mark.parametrize("name", ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"])
def test_300_megabytes(folder: Path, name: str) -> None:
    """Refused before it is read: the process does not grow by the file."""
    content = json.loads((folder / name).read_bytes())
    write(folder / name, b"")
    with (folder / name).open("r+b") as file:
        file.write(json.dumps(content).encode()[:-1])
        file.seek(300 * 2**20)  # a hole of the file system, so that the test writes little
        file.write(b"}")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    most = 32 if name == "tokenizer.json" else 4
    assert refusal(folder) == f"{name}: is larger than {most} MiB, as no such file is; fetch it again"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024


def test_many_keys(folder: Path) -> None:
    write(folder / "config.json", {f"num_beans_{number}": number for number in range(100_000)})
    assert refusal(folder) == "config.json: has 100,000 keys, as no configuration has; give another file"


def test_many_settings_without_effect_are_one_short_warning(folder: Path) -> None:
    write(folder / "generation_config.json", {"decoder_start_token_id": 2, **{f"a\n{i}": i for i in range(900)}})
    with pytest.warns(UserWarning, match=r"a 0 is unknown; .* and 880 more$") as warned:
        BartConfig.from_pretrained(folder)
    assert len(str(warned[0].message).splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("length_penalty", 1e308, "length_penalty=1e+308: give a number from -10 to 10"),
        ("length_penalty", 10**400, "length_penalty=1000"),
        ("num_beams", 10**9, "num_beams=1000000000: give a whole number from 1 to 1024"),
        ("num_return_sequences", 10**9, "num_return_sequences=1000000000: give a whole number from 1 to 1024"),
        ("max_length", 10**30, "max_length=1000000000000000000000000000000: give a whole number from 2 to 2147483647"),
        ("no_repeat_ngram_size", 2**63, "no_repeat_ngram_size=9223372036854775808: give"),
        ("temperature", 1e-308, "temperature=1e-308: give a number above 0, from 1e-6 to 1e6"),
        ("repetition_penalty", 1e308, "repetition_penalty=1e+308: give a number above 0, from 1e-6 to 1e6"),
        ("sequence_bias", [[[5], 1e308]], "sequence_bias=[[[5], 1e+308]]: give"),
        ("exponential_decay_length_penalty", [1, 1e308], "exponential_decay_length_penalty=[1, 1e+308]: give"),
        ("suppress_tokens", [10**9], "suppress_tokens=[1000000000]: it is outside vocab_size=400"),
        ("bad_words_ids", [[3], [2**70]], "it is outside vocab_size=400"),
        ("bad_words_ids", [[[]]] * 5000, "bad_words_ids=[[[]], [[]],"),
        ("early_stopping", {"x": []}, "early_stopping={'x': []}: give"),
    ],
)
def test_numbers_of_a_search(folder: Path, name: str, value: Any, said: str) -> None:
    settings = json.loads((folder / "generation_config.json").read_bytes())
    write(folder / "generation_config.json", {**settings, name: value})
    assert refusal(folder).startswith(f"generation_config.json: configuration: {name}=")
    assert said in refusal(folder) and len(refusal(folder)) < 300


@pytest.mark.parametrize("depth", [100, 100_000])
def test_deep_nesting(folder: Path, depth: int) -> None:
    for name in ("generation_config.json", "config.json", "added_tokens.json", "tokenizer.json"):
        write(folder / name, b'{"suppress_tokens": ' + b"[" * depth + b"]" * depth + b"}")
        assert refusal(folder) == f"{name} is not JSON: it has more than 50 levels of lists and objects"
        if name == "generation_config.json":
            (folder / name).unlink()
        else:
            write(folder / name, tiny_config().to_dict() if name == "config.json" else {})


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("encoder_layers", 10**9, "encoder_layers=1000000000: give 256 at most"),
        ("d_model", 2**40, "d_model=1099511627776: give 65536 at most"),
        ("vocab_size", 10**400, "vocab_size=1000"),
        ("dropout", 10**400, "dropout=1000"),
        ("init_std", 1e308, "init_std=1e+308: give 100 at most"),
        ("tie_word_embeddings", [[]] * 5000, "tie_word_embeddings=[[], [], "),
    ],
)
def test_numbers_of_a_shape(folder: Path, name: str, value: Any, said: str) -> None:
    write(folder / "config.json", {**tiny_config().to_dict(), name: value})
    assert said in refusal(folder) and len(refusal(folder)) < 300


TRUNCATION = {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 10}
SPLIT = {"type": "Split", "pattern": {"Regex": "["}, "behavior": "Isolated", "invert": False}


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ({"truncation": TRUNCATION}, "cannot be read as a BPE tokenizer: "),
        ({"truncation": {**TRUNCATION, "max_length": -4}}, "cannot be read as a BPE tokenizer: invalid value"),
        ({"pre_tokenizer": {"type": "ByteLevel"}}, "cannot be read as a BPE tokenizer: missing field"),
        ({"pre_tokenizer": SPLIT}, "cannot be read as a BPE tokenizer: Oniguruma error"),
        ({"pre_tokenizer": 5}, "cannot be read as a BPE tokenizer: data did not match"),
        ({"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"}}, "is a tokenizer of SentencePiece"),
        ({"normalizer": [5]}, "cannot be read as a BPE tokenizer"),
        ({"added_tokens": None}, "added_tokens=None: it must be a list of up to 100,000 tokens"),
        ({"added_tokens": [{"id": 2**40, "content": "x"}]}, "cannot be read as a BPE tokenizer"),
        ({"model": {"type": "BPE", "vocab": {"a": -1}, "merges": []}}, "cannot be read as a BPE tokenizer"),
    ],
)
def test_parts_of_a_tokenizer(folder: Path, part: dict[str, Any], said: str) -> None:
    content = json.loads((folder / "tokenizer.json").read_bytes())
    write(folder / "tokenizer.json", {**content, **part})
    assert said in refusal(folder)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("added_tokens.json", {"<mask>": "x"}, "added_tokens.json: the id of '<mask>' is 'x'; it must be a whole"),
        ("added_tokens.json", {"x": 2**40}, "added_tokens.json: the id of 'x' is 1099511627776; it must"),
        ("added_tokens.json", {str(number): number for number in range(100_001)}, "has 100,001 tokens; up to 100,000"),
        ("tokenizer_config.json", {"extra_special_tokens": ["x"] * 1001}, "it must be a list of up to 1,000 tokens"),
        ("added_tokens.json", ["x"], "added_tokens.json holds no JSON object: it begins with a list"),
        ("special_tokens_map.json", {"bos_token": 5}, "special_tokens_map.json: bos_token=5: it must be a token"),
        ("special_tokens_map.json", {"eos_token": {"x": 1}}, "special_tokens_map.json: eos_token={'x': 1}: it must"),
        ("special_tokens_map.json", [], "special_tokens_map.json holds no JSON object"),
        ("special_tokens_map.json", {"mask_token": {"content": "<mask>", "lstrip": "x"}}, "cannot be read as a BPE"),
        ("tokenizer_config.json", {"model_max_length": "512"}, "model_max_length='512': it must be a number of tokens"),
        ("tokenizer_config.json", {"padding_side": "up"}, "padding_side='up': it must be left or right"),
        ("tokenizer_config.json", {"model_input_names": ["x"]}, "model_input_names=['x']: it must be a list with"),
        ("tokenizer_config.json", {"trust_remote_code": True}, "is no setting of a BART tokenizer; leave it out"),
        ("tokenizer_config.json", {"decode": "x"}, "cannot be read as a BPE tokenizer: decode conflicts with"),
        ("tokenizer_config.json", {"added_tokens_decoder": ["x"]}, "cannot be read as a BPE tokenizer"),
        ("vocab.json", {"<s>": []}, "vocab.json: the id of '<s>' is []; it must be a whole number from 0"),
        ("merges.txt", b"a b\n\xff\xfe", "merges.txt cannot be read as a BPE tokenizer"),
    ],
)
def test_types_in_the_files_of_a_tokenizer(folder: Path, name: str, content: Any, said: str) -> None:
    if name in ("vocab.json", "merges.txt"):
        (folder / "tokenizer.json").unlink()
    write(folder / name, content)
    assert said in refusal(folder)


@pytest.mark.parametrize(
    "content",
    [
        [],
        {},
        {"weight_map": []},
        {"weight_map": {}},
        {"weight_map": {"a": 5}},
        {"weight_map": {"a": ["x"]}},
        {"weight_map": {"a": "../x.bin"}},
        {"weight_map": {"a": "/etc/passwd"}},
        {"weight_map": {"a": "x\0.bin"}},
        {"weight_map": {str(number): f"{number}.bin" for number in range(2000)}},
        b"[" * 10_000,
    ],
)
def test_an_index_of_shards(folder: Path, content: Any) -> None:
    (folder / "model.safetensors").unlink()
    write(folder / "model.safetensors.index.json", content)
    assert refusal(folder).startswith("model.safetensors.index.json")


@pytest.mark.parametrize("name", ["length_penalty", "temperature", "repetition_penalty", "exponential_decay"])
@pytest.mark.parametrize("is_greatest", [False, True])
def test_numbers_at_the_edges_are_searched_with(folder: Path, name: str, is_greatest: bool) -> None:
    values: dict[str, Any] = {
        "length_penalty": {"length_penalty": 10 if is_greatest else -10},
        "temperature": {"do_sample": True, "temperature": 1e6 if is_greatest else 1e-6},
        "repetition_penalty": {"repetition_penalty": 1e6 if is_greatest else 1e-6},
        "exponential_decay": {"exponential_decay_length_penalty": [0, 1e6 if is_greatest else 1e-6]},
    }
    assert set(values[name]) <= set(GenerationConfig.names())
    present = {"decoder_start_token_id": 2, "eos_token_id": 2, "num_beams": 2}
    write(folder / "generation_config.json", present | values[name])
    model, tokenizer = BartForConditionalGeneration.from_pretrained(folder), BartTokenizer.from_pretrained(folder)
    sources = tokenizer([" a text", " another, longer text"], padding=True, return_tensors="pt")
    output = model.generate(sources["input_ids"], max_length=60)
    assert output.shape[0] == 2 and output.max() < 400
