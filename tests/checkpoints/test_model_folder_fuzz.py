"""Damages the files of a model folder, but not its weights: it can be used, or an error of one line says why not.

Any error but an InputError fails. What can be used is used: a text is encoded, searched with, and decoded.
"""

import json
import shutil
import warnings
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from bart.configuration.configuration_bart import BartConfig
from bart.configuration.generation_config import GenerationConfig
from bart.configuration.generation_files import LEFT_OUT, OLD_FORCED_BOS
from bart.errors import InputError
from bart.modeling.modeling_bart import BartForConditionalGeneration
from bart.tokenization.tokenization_bart import BartTokenizer, check_fits
from tests.input_costs import InputCosts
from tests.tiny_setup import tiny_config, write_tiny_setup
from tests.utils.data.test_data_fuzz import edited, edits, try_many
from utils.checkpoint.pretrained import load_tokenizer

# Inputs. The long form prints what became of them:
# bash scripts/test.sh -m slow -s tests/checkpoints/test_model_folder_fuzz.py
FORMS = [
    pytest.param(200, id="short"),
    pytest.param(5000, id="long", marks=[pytest.mark.slow, pytest.mark.timeout(5400)]),
]
TEXT = " The parser reads the arguments of a program, caf\u00e9 <mask>."

SETTINGS_FILES = ["config.json", "generation_config.json", "model.safetensors.index.json"]
TOKENIZER_FILES = ["tokenizer.json", "vocab.json", "merges.txt", "added_tokens.json"]
TOKENIZER_FILES += ["special_tokens_map.json", "tokenizer_config.json"]

# Values of other types, at the edges of numbers and beyond them, and of a form that only Python reads or writes.
NESTED: Any = []
for _ in range(200):
    NESTED = [NESTED]
odd_values = st.one_of(
    st.sampled_from([None, True, False, "", "x", "<s>", "</s>", "left", "never", [], {}, [[]], [0], [[0]], {"x": 0}]),
    st.sampled_from([0, 1, 2, -1, 3, 7, 100, 1000, 10**9, 2**31, 2**32, 2**63, 2**64, 10**30, 10**400, -(10**9)]),
    st.sampled_from([0.0, 0.5, 1.0, 1.5, -0.5, 1e-320, 1e-9, 1e9, 1e308, -1e308, float("nan"), float("inf")]),
    st.sampled_from([-float("inf"), NESTED, "\ud800", "a\nb", "a" * 1000, list(range(500)), [[[5], -1.0]], [1, 1e300]]),
    st.sampled_from([{"content": "<s>"}, {"content": "x", "lstrip": 1}, {"content": ""}, {"__type": "AddedToken"}]),
    st.integers(-10, 500),
    st.floats(-4, 4),
)
# Names of settings, and arguments of transformers' code that a file must not reach.
names = st.sampled_from(
    [
        *(*GenerationConfig.names(), *LEFT_OUT, OLD_FORCED_BOS, "_from_model_config", "length_penality", "task"),
        *BartConfig().to_dict(),
        *(f"{name}_token" for name in ("bos", "eos", "unk", "sep", "pad", "cls", "mask", "image")),
        *("model_max_length", "max_len", "padding_side", "truncation_side", "model_input_names", "add_prefix_space"),
        *("errors", "trim_offsets", "split_special_tokens", "clean_up_tokenization_spaces", "chat_template", "stride"),
        *("additional_special_tokens", "extra_special_tokens", "model_specific_special_tokens", "init_inputs"),
        *("added_tokens_decoder", "vocab", "merges", "tokenizer_object", "gguf_file", "trust_remote_code", "pad"),
        *("fast_tokenizer_files", "post_processor", "tokenizer_truncation", "_json_padding", "name_or_path"),
        *("truncation", "padding", "normalizer", "pre_tokenizer", "decoder", "added_tokens", "version", "backend"),
        *("tokenizer_class", "auto_map", "vocab_file", "merges_file", "tokenizer_file", "is_local", "weight_map"),
        *("add_bos_token", "add_eos_token", "return_tensors", "max_length", "cache_dir", "subfolder", "_commit_hash"),
        *("chat_control_tokens", "response_template", "processor_class", "files_loaded", "__class__", "dropout"),
    ]
)
# Parts of a tokenizer.json that are whole, but not BART's, or not possible.
FLAGS = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
parts = st.sampled_from(
    [
        ("normalizer", {"type": "Precompiled", "precompiled_charsmap": "AAAA"}),
        ("normalizer", {"type": "Replace", "pattern": {"Regex": "("}, "content": "x"}),
        ("normalizer", {"type": "Sequence", "normalizers": [{"type": "Lowercase"}, {"type": "NFKC"}]}),
        ("normalizer", [{"type": "NFC"}]),
        ("pre_tokenizer", {"type": "Split", "pattern": {"Regex": "(a*)*b"}, "behavior": "Isolated", "invert": False}),
        ("pre_tokenizer", {"type": "Split", "pattern": {"Regex": "["}, "behavior": "Isolated", "invert": False}),
        ("pre_tokenizer", {"type": "Sequence", "pretokenizers": []}),
        ("pre_tokenizer", {"type": "FixedLength", "length": 0}),
        ("pre_tokenizer", {"type": "Metaspace", "replacement": "", "prepend_scheme": "always"}),
        ("pre_tokenizer", {"type": "ByteLevel"}),
        ("post_processor", {"type": "BertProcessing", "sep": ["</s>", 10**10], "cls": ["<s>", 0]}),
        ("post_processor", {"type": "TemplateProcessing", "single": [], "pair": [], "special_tokens": {}}),
        ("truncation", {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 10}),
        ("truncation", {"direction": "Left", "max_length": 0, "strategy": "OnlyFirst", "stride": 0}),
        *(
            ("padding", {"strategy": strategy, "direction": "Left", "pad_to_multiple_of": 0, "pad_id": 1, **end})
            for strategy in ("BatchLongest", {"Fixed": 10**12})
            for end in ({"pad_type_id": 0, "pad_token": "<pad>"}, {"pad_type_id": 2**33, "pad_token": "x"})
        ),
        ("added_tokens", [{"id": 399, "content": "", **FLAGS}]),
        ("added_tokens", [{"id": 2**33, "content": "x", **FLAGS}]),
        ("added_tokens", [{"id": 5, "content": "a\nb", **FLAGS}, {"id": 5, "content": "a", **FLAGS}]),
        ("model", {"type": "BPE", "vocab": {}, "merges": []}),
        ("model", {"type": "BPE", "dropout": 0.5, "vocab": {"a": 0}, "merges": ["a b"]}),
        ("added_tokens_decoder", {"3": {"content": "<unk>", **FLAGS}, "x": {"content": "y"}}),
        ("added_tokens_decoder", {"-1": {"content": "y", **FLAGS}}),
        ("added_tokens_decoder", {"400": {"content": "y", **FLAGS}, "1e9": "z"}),
    ]
)
RAW = {
    "lists": b"[" * 100_000,
    "objects": b'{"a":' * 100_000,
    "digits": b'{"num_beams": ' + b"9" * 5000 + b"}",
    "exponent": b'{"length_penalty": 1e999}',
    "half a character": b'{"prefix": "\\ud800", "mask_token": "\\udfff"}',
    "whole character": b'{"prefix": "\\ud83d\\ude00"}',
    "utf-16": '{"prefix": "x"}'.encode("utf-16"),
    "byte order mark": b"\xef\xbb\xbf{}",
    "nul": b'{"prefix": "\0"}',
    "nothing": b"",
}
way = st.lists(st.integers(0, 10**6), min_size=1, max_size=5)  # into a value: which part, and which part of that
changes = st.one_of(
    st.tuples(st.just("bytes"), edits),
    st.tuples(st.just("cut"), st.floats(0, 1)),
    st.tuples(st.just("replace"), way, odd_values),
    st.tuples(st.just("delete"), way),
    st.tuples(st.just("copy"), way, way),
    st.tuples(st.just("name"), way, names, odd_values),
    st.tuples(st.just("set"), names, odd_values),
    st.tuples(st.just("twice"), names),
    st.tuples(st.just("whole"), odd_values),
    st.tuples(st.just("set part"), parts),
    st.tuples(st.just("raw"), st.sampled_from(list(RAW))),
)


def part_of(value: Any, way: list[int]) -> tuple[Any, Any]:
    """Return a list or dict within ``value``, and a key of it; the key is None if ``value`` has no parts."""
    inside, key = value, None
    for number in way:
        part = value if key is None else inside[key]
        if not isinstance(part, list | dict) or not part:
            break
        inside, key = part, number % len(part) if isinstance(part, list) else list(part)[number % len(part)]
    return inside, key


def changed(content: bytes, kind: str, *change: Any) -> bytes:
    """Return the content of a file with one change."""
    if kind == "bytes":
        return edited(content, *change)
    if kind == "cut":
        return content[: round(change[0] * len(content))]
    if kind == "raw":
        return RAW[change[0]]
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):  # no JSON, such as merges.txt, or no more
        value = content.decode(errors="replace").splitlines()
    if kind == "whole":
        value = change[0]
    elif kind in ("set", "set part") and isinstance(value, dict):
        name, its_value = change if kind == "set" else change[0]
        value[name] = its_value
    elif kind == "twice":
        return content.replace(b"{", f'{{"{change[0]}": 1, "{change[0]}": 1, '.encode(), 1)
    elif kind in ("replace", "delete", "copy", "name"):
        inside, key = part_of(value, change[0])
        if key is not None:
            if kind == "replace":
                inside[key] = change[1]
            elif kind == "delete":
                del inside[key]
            elif kind == "copy":
                other, its_key = part_of(json.loads(json.dumps(value)), change[1])
                inside[key] = None if its_key is None else other[its_key]
            elif isinstance(inside, dict):
                inside[change[1]] = inside.pop(key)
            else:
                inside.insert(key, change[2])
    return json.dumps(value).encode()


@dataclass
class Tries:
    """What became of the inputs of one test."""

    ends: Counter[str] = field(default_factory=Counter)
    costs: InputCosts = field(default_factory=InputCosts)

    def use(self, folder: Path, name: str, described: str, present: BartTokenizer | None) -> None:
        """Load and use a model folder. Only an InputError of one line may come of it."""
        with self.costs.measure(described):
            try:
                use(folder, present)
                self.ends[f"{name}: used"] += 1
            except InputError as error:
                assert str(error).splitlines() == [str(error)] and len(str(error)) < 1000
                assert str(folder) in str(error) or str(error).startswith("generate: ")
                self.ends[f"{name}: refused"] += 1

    def check(self) -> None:
        """Print the counts, and check what the inputs cost."""
        print(*(f"\n{end} {count:,}" for end, count in sorted(self.ends.items())))
        self.costs.check()


def use(folder: Path, present: BartTokenizer | None = None) -> None:
    """Summarize with a folder's model, and with its tokenizer unless there is one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        model = BartForConditionalGeneration.from_pretrained(folder)
        tokenizer = present or load_tokenizer(None, str(folder), model.config)
        check_fits(tokenizer, model.config, str(folder))
        sources = tokenizer([TEXT, ""], max_length=20, truncation=True, padding=True, return_tensors="pt")
        output = model.generate(sources["input_ids"], return_dict_in_generate=False)
        assert len(tokenizer.batch_decode(output, skip_special_tokens=True)) == len(output) >= 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model with all files that a folder may have; the weights in two shards."""
    setup = write_tiny_setup(tmp_path_factory.mktemp("setup"))
    folder = tmp_path_factory.mktemp("folders") / "model"
    BartForConditionalGeneration(tiny_config().copy(d_model=16, max_length=8)).save_pretrained(folder)
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    shards = {name: f"part-{number % 2}.safetensors" for number, name in enumerate(sorted(tensors))}
    for shard in set(shards.values()):
        save_file({name: tensor for name, tensor in tensors.items() if shards[name] == shard}, folder / shard)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": shards}))
    BartTokenizer.from_pretrained(setup.tokenizer).save_pretrained(folder)
    (folder / "added_tokens.json").write_text(json.dumps({"<mask>": 399}))
    special = {"bos_token": "<s>", "mask_token": {"content": "<mask>", "lstrip": True, "rstrip": False}}
    (folder / "special_tokens_map.json").write_text(json.dumps(special))
    use(folder)
    return folder


@pytest.mark.parametrize("inputs", FORMS)
def test_settings(folder: Path, inputs: int) -> None:
    try_files(folder, inputs // 2, SETTINGS_FILES, BartTokenizer.from_pretrained(folder))


@pytest.mark.parametrize("inputs", FORMS)
def test_tokenizers(folder: Path, inputs: int) -> None:
    """Of both formats: without a tokenizer.json its older pair is read."""
    try_files(folder, inputs // 2, TOKENIZER_FILES)


def try_files(original: Path, inputs: int, files: list[str], present: BartTokenizer | None = None) -> None:
    tries, folder = Tries(), original.parent / "damaged"

    def check(file: str, changes: list[Any]) -> None:
        folder.mkdir()
        for path in original.iterdir():
            if path.name != "tokenizer.json" or file not in ("vocab.json", "merges.txt", "added_tokens.json"):
                (folder / path.name).hardlink_to(path)
        content = (original / file).read_bytes()
        for change in changes:
            content = changed(content, *change)
        (folder / file).unlink()
        (folder / file).write_bytes(content)
        try:
            tries.use(folder, file, f"{file} {changes}"[:500], present)
        finally:
            shutil.rmtree(folder)

    try_many(inputs, check, file=st.sampled_from(files), changes=st.lists(changes, min_size=1, max_size=2))
    tries.check()
