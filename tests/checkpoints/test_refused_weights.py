"""Weight files of others that hold something else than finite floating-point weights: one line, before any work.

All files are written by torch, safetensors and zipfile, or byte by byte.
"""

import argparse
import io
import json
import re
import struct
import zipfile
from collections import Counter, OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from bart.checkpoints.safe_load import load_weights_only
from bart.checkpoints.weights import StoredModel, read_config
from bart.configuration.configuration_bart import BartConfig
from bart.errors import InputError
from bart.modeling.modeling_bart import BartForConditionalGeneration
from tests.fairseq_format import fairseq_settings
from tests.gadgets import write_pickle_as
from tests.published_forms import TABLE, bare_weights, config_values, prefixed
from utils.checkpoint.checkpoint_io import load_checkpoint, stored_arguments
from utils.cli.evaluation_args import EvaluationArguments
from utils.cli.options import options_of
from utils.cli.summarize_args import SummarizeArguments
from utils.cli.training_args import TrainingArguments
from utils.cli.tuning_args import TuningArguments
from utils.commands.compare_with_transformers import CompareArguments
from utils.commands.export_model import ExportArguments
from utils.commands.make_student import StudentArguments

VOCABULARY, POSITIONS = 30, 12
FC1 = "encoder.layers.0.fc1.weight"
Weights = dict[Any, Any]


def in_safetensors(folder: Path, weights: Weights) -> Path:
    (folder / "config.json").write_text(json.dumps(config_values(VOCABULARY, POSITIONS)))
    save_file(weights, folder / "model.safetensors")
    return folder


def in_bin(folder: Path, weights: Weights) -> Path:
    (folder / "config.json").write_text(json.dumps(config_values(VOCABULARY, POSITIONS)))
    torch.save(weights, folder / "pytorch_model.bin")
    return folder


def in_old_bin(folder: Path, weights: Weights) -> Path:
    in_bin(folder, {})
    torch.save(weights, folder / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    return folder


def in_shard(folder: Path, weights: Weights) -> Path:
    in_bin(folder, weights)
    (folder / "pytorch_model.bin").rename(folder / "part.bin")
    (folder / "pytorch_model.bin.index.json").write_text('{"weight_map": {"shared.weight": "part.bin"}}')
    return folder


def in_checkpoint(folder: Path, weights: Weights, **config: Any) -> Path:
    def with_prefix(name: Any) -> Any:
        return f"model.model.{name}" if isinstance(name, str) else name

    values = BartConfig(**config_values(VOCABULARY, POSITIONS)).to_dict() | config
    state = {with_prefix(name): tensor for name, tensor in weights.items()}
    path = folder / "_epoch0_step1.ckpt"
    torch.save({"state_dict": state, "hyper_parameters": {"config": values}}, path)
    return path


def in_fairseq_file(folder: Path, weights: Weights, **settings: Any) -> Path:
    model = BartForConditionalGeneration(BartConfig(**config_values(VOCABULARY, POSITIONS)))
    table = {"encoder.embed_tokens.weight": weights.get(TABLE), "decoder.embed_tokens.weight": weights.get(TABLE)}
    stored = {**{name: tensor for name, tensor in weights.items() if name != TABLE}, **table}
    path = folder / "model.pt"
    torch.save({"cfg": {"model": fairseq_settings(model) | settings}, "model": stored}, path)
    return path


PICKLED: dict[str, Callable[..., Path]] = {
    ".bin": in_bin,
    "old .bin": in_old_bin,
    "shard": in_shard,
    ".ckpt": in_checkpoint,
    "fairseq .pt": in_fairseq_file,
}
FORMS = {"safetensors": in_safetensors, **PICKLED}


def weights_with(name: Any = FC1, change: Callable[[Tensor], Any] = torch.clone) -> Weights:
    """Good weights, but for one."""
    weights = bare_weights(VOCABULARY, POSITIONS)
    return {**weights, name: change(weights.get(name, torch.ones(3)))}


def refused(path: Path) -> str:
    """The line that says why a model is not read."""
    with pytest.raises(InputError) as refusal:
        BartForConditionalGeneration.from_pretrained(path)
    assert str(refusal.value).startswith(str(path)) and str(refusal.value).isprintable()
    return str(refusal.value)


@pytest.mark.parametrize("form", FORMS)
def test_the_weights_that_are_changed_below_are_good(tmp_path: Path, form: str) -> None:
    model = BartForConditionalGeneration.from_pretrained(FORMS[form](tmp_path, weights_with()))
    assert torch.equal(model.state_dict()[f"model.{FC1}"], weights_with()[FC1])


@pytest.mark.parametrize("dtype", ["int64", "uint8", "bool", "complex64"])
@pytest.mark.parametrize("form", FORMS)
def test_other_types_are_refused_by_name_and_type(tmp_path: Path, form: str, dtype: str) -> None:
    path = FORMS[form](tmp_path, weights_with(FC1, lambda tensor: (10 * tensor).to(getattr(torch, dtype))))
    assert f"{FC1} is {dtype}; weights are float32, float16, bfloat16, float64" in refused(path)


def test_eight_bits_without_scales_are_refused(tmp_path: Path) -> None:
    path = in_safetensors(tmp_path, weights_with(FC1, lambda tensor: tensor.to(torch.float8_e4m3fn)))
    assert f"{FC1} is float8_e4m3fn" in refused(path)


def test_an_embedding_table_of_integers_is_refused_as_any_other(tmp_path: Path) -> None:
    assert f"{TABLE} is int32" in refused(in_bin(tmp_path, weights_with(TABLE, Tensor.int)))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("form", FORMS)
def test_one_weight_that_is_not_finite_is_refused_by_name(tmp_path: Path, form: str, value: float) -> None:
    weights = weights_with()
    for name in (FC1, "decoder.layers.0.fc2.bias"):
        weights[name].view(-1)[-1] = value
    path = FORMS[form](tmp_path, weights)
    assert f"NaN or infinite in model.decoder.layers.0.fc2.bias, model.{FC1}; give another" in refused(path)
    assert "--allow_non_finite" in refused(path)
    model = BartForConditionalGeneration.from_pretrained(path, allow_non_finite=True)
    values = torch.cat([tensor.flatten() for tensor in model.state_dict().values()])
    assert len(values) - int(values.isfinite().sum()) == 2


def test_what_exceeds_float32_is_infinite(tmp_path: Path) -> None:
    path = in_safetensors(tmp_path, weights_with(FC1, lambda tensor: tensor.double() * 1e300))
    assert f"NaN or infinite in model.{FC1}" in refused(path)


def test_tied_tables_with_nan_are_refused_for_that_or_taken(tmp_path: Path) -> None:
    """NaN does not equal itself, but the tables are the same."""
    weights = prefixed(weights_with(TABLE, lambda table: torch.full_like(table, float("nan"))))
    path = in_safetensors(tmp_path, {**weights, "lm_head.weight": weights[f"model.{TABLE}"].clone()})
    assert f"NaN or infinite in model.{TABLE};" in refused(path)
    BartForConditionalGeneration.from_pretrained(path, allow_non_finite=True)


def test_tied_tables_of_two_types_are_compared_by_value(tmp_path: Path) -> None:
    weights = prefixed(weights_with(TABLE, lambda table: table.half().float()))
    path = in_bin(tmp_path, {**weights, "lm_head.weight": weights[f"model.{TABLE}"].half()})
    BartForConditionalGeneration.from_pretrained(path)
    in_bin(tmp_path, {**weights, "lm_head.weight": weights[f"model.{TABLE}"].half() + 1})
    assert "lm_head.weight differs from model.shared.weight" in refused(path)


@pytest.mark.parametrize(
    "arguments",
    [
        *(TrainingArguments, EvaluationArguments, SummarizeArguments, TuningArguments),
        *(ExportArguments, StudentArguments, CompareArguments),
    ],
)
def test_every_command_that_loads_a_model_has_the_flag(arguments: Any) -> None:
    assert "allow_non_finite" in {field.name for field in options_of(arguments)}


def nested(tensor: Tensor) -> Tensor:
    return torch.nested.nested_tensor([tensor[:1], tensor[:2]])


OTHER_KINDS: dict[str, tuple[Callable[[Tensor], Any], str]] = {
    "sparse": (Tensor.to_sparse, "holds a sparse tensor"),
    "sparse rows": (Tensor.to_sparse_csr, "holds a sparse tensor"),
    "quantized": (lambda tensor: torch.quantize_per_tensor(tensor, 0.1, 0, torch.qint8), "holds a quantized tensor"),
    "nested": (nested, "holds a nested tensor"),
    "without values": (lambda tensor: tensor.to("meta"), "holds a tensor without values"),
    "a list": (Tensor.tolist, "is a list, not a tensor"),
    "expanded": (lambda _: torch.zeros(1).expand(10**6, 10**5), "has the shape (1000000, 100000), but only"),
    "expanded from a row": (lambda tensor: tensor[0].expand(10**9, -1), "has the shape (1000000000, "),
}


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta", "ignore:The PyTorch API of nested tensors")
@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
@pytest.mark.parametrize("kind", OTHER_KINDS)
@pytest.mark.parametrize("form", PICKLED)
def test_other_kinds_of_tensors_are_refused(tmp_path: Path, form: str, kind: str) -> None:
    """In the place of a weight, and in that of the embeddings."""
    change, said = OTHER_KINDS[kind]
    for name in (FC1, TABLE):
        assert said in refused(PICKLED[form](tmp_path, weights_with(name, change)))


@pytest.mark.parametrize("form", [in_bin, in_checkpoint])
def test_an_expanded_copy_of_the_table_is_refused_by_its_shape(tmp_path: Path, form: Callable[..., Path]) -> None:
    huge = torch.ones(1, 1).expand(2**30, 2**20)
    path = form(tmp_path, weights_with("lm_head.weight", lambda _: huge))
    assert "lm_head.weight has the shape (1073741824, 1048576), but only" in refused(path)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (3, "has a int for the name of a tensor"),
        (None, "has a NoneType for the name of a tensor"),
        (("a", 1), "has a key that is neither a text nor a number"),
        ("two\nlines\x1b[1m", "a tensor has the name"),
        ("long" * 100, "a tensor has the name"),
    ],
)
@pytest.mark.parametrize("form", PICKLED)
def test_names_that_are_no_texts_are_refused(tmp_path: Path, form: str, name: Any, said: str) -> None:
    assert said in refused(PICKLED[form](tmp_path, weights_with(name)))


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def call(name: str, arguments: bytes, operation: bytes = b"R") -> bytes:
    """The operations of a call."""
    module, _, function = name.rpartition(".")
    return f"c{module}\n{function}\n".encode() + b"(" + arguments + b"t" + operation


HUGE = b"J\xff\xff\xff\x7f"  # 2**31 - 1
STORAGE = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu") + b"K\x01tQ"
# The operations of a pickle that make a value which no program of torch writes.
WRONG_CALLS = {
    "a storage as a function": call("torch.FloatStorage", b"K\x05"),
    "a huge storage": call("torch.storage.UntypedStorage", HUGE * 2),
    "a huge storage of bytes": call("torch.storage.UntypedStorage", HUGE),
    "a huge tensor": call("torch.Tensor", HUGE, b"\x81"),
    "a huge byte array": call("builtins.bytearray", b"\x8a\x08" + b"\xff" * 7 + b"\x7f"),
    "rebuild of nothing": call("torch._utils._rebuild_tensor_v2", b""),
    "rebuild of a number": call("torch._utils._rebuild_tensor_v2", b"K\x01K\x00))\x89}"),
    "rebuild of None": call("torch._utils._rebuild_parameter", b"N\x89N"),
    "rebuild beyond the storage": call(
        "torch._utils._rebuild_tensor_v2", STORAGE + b"K\x00(" + HUGE + b"t(K\x01t\x89}"
    ),
    "rebuild of a negative size": call(
        "torch._utils._rebuild_tensor_v2", STORAGE + b"K\x00(J\xff\xff\xff\xfft(K\x01t\x89}"
    ),
    "rebuild of a boolean size": call("torch._utils._rebuild_tensor_v2", STORAGE + b"K\x00(\x88t(K\x01t\x89}"),
    "rebuild at a boolean place": call("torch._utils._rebuild_tensor_v2", STORAGE + b"\x89(K\x01t(K\x01t\x89}"),
    **{
        f"rebuild as {dtype}": call(
            "torch._utils._rebuild_tensor_v3", STORAGE + b"K\x00(K\x01t(K\x01t\x89}ctorch\n" + dtype.encode() + b"\n"
        )
        for dtype in ("qint8", "quint4x2", "complex32")
    },
    "rebuild of an empty one of no size": call(
        "torch._utils._rebuild_tensor", STORAGE + b"K\x00(\x8a\x08" + b"\xfe" + b"\xff" * 6 + b"\x7fK\x00t(K\x01K\x01t"
    ),
    "a name without an end": b"ctorch.Size",
    "rebuild by a text": call("torch._tensor._rebuild_from_type_v2", text("a") + b"N)}"),
    "a parameter of a list": call("torch.nn.parameter.Parameter", b"]", b"\x81"),
    "an unknown codec": call("_codecs.encode", text("a") + text("no such codec")),
    "an unknown device": call("torch.device", text("nowhere")),
    "a device of a text": call("torch.device", text("cuda") + text("0")),
    "a device of a boolean": call("torch.device", text("cuda") + b"\x88"),
    "a device of a large number": call("torch.device", text("cuda") + b"M\xe8\x03"),
    "a complex number of a huge one": call("builtins.complex", b"\x8a\xff" + b"\x7f" * 255 + b"K\x01"),
    "a size of a text": call("torch.Size", b"(" + text("a") + b"t"),
    "a list as a dict's items": b"}](K\x01eNu",
    "an odd number of items": b"}(K\x01K\x01K\x01u",
    "a set of lists": call("builtins.set", b"(]t"),
    "a list for a key": b"}]K\x01s",
    "an empty memo": b"h\x07",
    "an empty stack": b"0",
    "too little on the stack": b"\x87",
    "no mark": b"t",
}


# The operations of a pickle with which a reader that does what they say is busy for hours, or takes all memory.
DOUBLED = b"h\x00\x86q\x00" * 60  # a pair of what is on the stack, 60 times
LONG_LIST = b"](" + b"K\x01" * 10**5 + b"eq\x00"
# With all its elements in one place.
EXPANDED = call("torch._utils._rebuild_tensor_v2", STORAGE + b"K\x00(" + HUGE + b"t(K\x00t\x89}")
EMPTY_DICT = b"ccollections\nOrderedDict\n)R"
NO_KEY = "a key that is neither a text nor a number of 8 bytes"
NOT_STORED = "refers to values that are not stored"
TOO_MUCH = "has more than 1,048,576 operations, or makes more values"
NUMBERS = b"N".join(b"J" + struct.pack("<i", number) for number in range(2**15 + 1)) + b"N"


def otherwise(name: str) -> str:
    return f"calls {name} in another way than torch does"


ENDLESS_WORK = {
    "a tensor for a set": (call("builtins.set", EXPANDED), otherwise("builtins.set")),
    "a storage for a set": (call("builtins.set", STORAGE), otherwise("builtins.set")),
    "a text for a counter": (call("collections.Counter", text("ab")), otherwise("collections.Counter")),
    "a tensor for the items of a dict": (
        call("collections.OrderedDict", b"]" + EXPANDED + b"a"),
        otherwise("collections.OrderedDict"),
    ),
    "a tensor for arguments": (EXPANDED.join([b"ctorch\nSize\n", b"R"]), "calls what is no function"),
    "a list for a function": (b"]q\x00" + b"](h\x00h\x00eq\x00" * 60 + b")R", "calls what is no function"),
    "the state of a tensor": (EXPANDED + EXPANDED + b"\x85b", "gives a state to what has none"),
    "the items of a tensor": (EXPANDED + b"NK\x01s", "gives keys to what is no dict"),
    "a tensor in a tensor": (EXPANDED + b"K\x01a", "gives items to what is no list"),
    "nested tuples for a key": (b"})q\x00" + DOUBLED + b"Ns", NO_KEY),
    "nested tuples for a storage": (b")q\x00" + DOUBLED + b"Q", NOT_STORED),
    "lists that hold each twice": (b"]q\x00" + b"](h\x00h\x00eq\x00" * 30, TOO_MUCH),
    "deep lists": (b"]" * 51 + b"a" * 50, "makes lists or dicts of more than 50 levels"),
    "a list in itself": (b"]q\x00h\x00a", "makes a list or dict that is within itself"),
    "a list in a tuple in it": (b"]q\x00h\x00\x85a", "makes a list or dict that is within itself"),
    "sets of a long list": (LONG_LIST + b"cbuiltins\nset\nq\x01" + b"h\x01h\x00\x85R" * 1000, "32,768 keys"),
    "dicts of a long list": (
        b"](" + b"](U\x01kNe" * 10**4 + b"eq\x00ccollections\nOrderedDict\nq\x01" + b"h\x01h\x00\x85R" * 1000,
        TOO_MUCH,
    ),
    "numbers as keys": (b"}(" + NUMBERS + b"u", "more than 32,768 keys that are numbers"),
    "numbers as the keys of many dicts": (b"}NNs" * (2**15 + 1), "more than 32,768 keys that are numbers"),
    "a number above 8 bytes as a key": (b"}\x8a\x09" + b"\0" * 8 + b"\1Ns", NO_KEY),
    "a complex number as a key": (b"}" + call("builtins.complex", 2 * (b"G" + b"\0" * 8)) + b"Ns", NO_KEY),
    "a tuple as the key of an item": (call("collections.OrderedDict", b"]](K\x01\x85Nea"), NO_KEY),
    "a tuple in a set": (call("builtins.set", b"](K\x01\x85e"), NO_KEY),
    "a long text as a key": (b"}" + text("a" * 4097) + b"Ns", "a key of more than 4,096 characters"),
    "a number for the key of a storage": (STORAGE.replace(text("0"), b"K\x00"), NOT_STORED),
    "a view of a storage": (STORAGE.replace(b"tQ", b"(" + text("1") + b"K\x00K\x01ttQ"), NOT_STORED),
    "a text for the size of a storage": (STORAGE.replace(b"K\x01tQ", text("1") + b"tQ"), NOT_STORED),
    "another part for a storage": (STORAGE.replace(text("0"), text("../version")), "of a tensor are not stored"),
    "bytes of a long text": (
        text("a" * 2**20) + b"q\x00" + text("latin1") + b"\x86q\x01c_codecs\nencode\nq\x00" + b"h\x00h\x01R" * 1000,
        TOO_MUCH,
    ),
    "a codec": (call("_codecs.encode", text("ab") + text("punycode")), otherwise("_codecs.encode")),
    "a byte array of zeros": (call("builtins.bytearray", HUGE), otherwise("builtins.bytearray")),
    "a tensor of zeros": (call("torch.Tensor", HUGE, b"\x81"), otherwise("torch.Tensor")),
    "a codec for a tensor": (
        call("torch._tensor._rebuild_from_type_v2", b"c_codecs\nencode\nN" + text("a") + text("punycode") + b"\x86}"),
        otherwise("torch._tensor._rebuild_from_type_v2"),
    ),
    "places of the memo": (b"Nr" + struct.pack("<I", 2**20), "numbers its values otherwise than torch does"),
    # These take no time here, and make nothing that is a model.
    "a tensor for a state": (EMPTY_DICT + EXPANDED + b"bN", "holds no state dict"),
    "a function for a method": (
        EMPTY_DICT + b"}" + text("__setstate__") + b"cbuiltins\nbytearray\nsb" + HUGE + b"bN",
        "holds no state dict",
    ),
    "a dict as a state again and again": (
        EMPTY_DICT + b"}(" + NUMBERS[: 6 * 4000] + b"uq\x00" + b"bh\x00" * 1000 + b"bN",
        "holds no state dict",
    ),
}


@pytest.mark.parametrize("endless", ENDLESS_WORK)
@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt"])
def test_pickles_of_endless_work_are_refused(tmp_path: Path, name: str, endless: str) -> None:
    operations, said = ENDLESS_WORK[endless]
    in_bin(tmp_path, {"a": torch.ones(1)})
    write_pickle_as(tmp_path / name, "zip", b"\x80\x02" + operations + b".", tmp_path / "pytorch_model.bin")
    assert said in refused(tmp_path if name.endswith(".bin") else tmp_path / name)


@pytest.mark.parametrize(
    "operations",
    [
        b"](" + b"N" * 10**5 + b"tq\x00" + b"cfairseq\nA\nq\x01" + b"h\x01h\x00R" * 1000,
        b"}(" + b"".join(text(str(number)) + b"N" for number in range(10**4)) + b"uq\x00cfairseq\nA\nq\x01"
        + b"h\x01)Rh\x00b" * 1000,
        b"}(" + NUMBERS[: 6 * 30000] + b"uq\x00cfairseq\nA\n)R" + b"h\x00b" * 1000,
    ],
)  # fmt: skip
def test_objects_of_endless_work_are_refused(tmp_path: Path, operations: bytes) -> None:
    """Long arguments, and long states, again and again."""
    write_pickle_as(tmp_path / "model.pt", "zip", b"\x80\x02" + operations + b".")
    assert re.search(f"{TOO_MUCH}|more than 32,768 keys", refused(tmp_path / "model.pt"))


@pytest.mark.parametrize(
    "operations",
    [
        b"".join(b"cfairseq\nA%d\n" % number for number in range(3200)) + b"N",
        b"".join(b"cfairseq\nA%d\n" % number for number in range(100)) + b"cfairseq\nA0\n" * 10**5 + b"N",
    ],
)
def test_many_unknown_names_take_no_time(tmp_path: Path, operations: bytes) -> None:
    for name, said in (("pytorch_model.bin", "nothing of it was run (fairseq.A0)"), ("model.pt", "no state dict")):
        in_bin(tmp_path, {})
        write_pickle_as(tmp_path / name, "zip", b"\x80\x02" + operations + b".")
        assert said in refused(tmp_path if name.endswith(".bin") else tmp_path / name)


def test_objects_may_hold_each_other(tmp_path: Path) -> None:
    """As the nodes of omegaconf do, in the settings that fairseq stores; their items beside the state are dropped."""
    first, second = argparse.Namespace(), argparse.Namespace(name="second")
    first.second, second.first = second, [first]
    torch.save({"objects": [first, second]}, tmp_path / "model.pt")
    read, other = load_weights_only(tmp_path / "model.pt", keep_objects=True)["objects"]
    assert read.attributes == {"second": other} and other.attributes == {"name": "second", "first": [read]}
    first.second = [[]]
    for _ in range(20):
        first.second = [first.second] * 2
    torch.save({"objects": [first, second]}, tmp_path / "model.pt")
    assert TOO_MUCH in refused(tmp_path / "model.pt")


def test_the_pickles_of_an_old_file_are_checked(tmp_path: Path) -> None:
    """A file of a few bytes must not make torch take memory for the values that it says it has."""
    in_old_bin(tmp_path, weights_with())
    path = tmp_path / "pytorch_model.bin"
    content = path.read_bytes()
    before, keys, after = content.partition(b"\x80\x02]")
    path.write_bytes(before + b"\x80\x02" + text("0" * 1000) + b"." + after)
    assert keys and "its last pickle is no list of keys" in refused(tmp_path)
    path.write_bytes(before + b"\x80\x02]." + after)
    assert "the values of a tensor are not stored" in refused(tmp_path)
    path.write_bytes(content[:-1])
    assert "the values of a tensor are cut" in refused(tmp_path)
    path.write_bytes(content[:6] + b"\0" + content[7:])
    assert "it is no file of torch.save" in refused(tmp_path)
    assert content.count(b"little_endianq\x02\x88") == 1
    path.write_bytes(content.replace(b"little_endianq\x02\x88", b"little_endianq\x02\x89"))
    assert "its numbers are not those of a little-endian machine" in refused(tmp_path)
    numbers, system = content.partition(b"\x80\x02}")[0], b"}" + text("little_endian") + b"\x88s."
    path.write_bytes(numbers + b"\x80\x02" + system + b"\x80\x02" + STORAGE.replace(b"K\x01tQ", HUGE + b"tQ") + b".")
    assert "its tensors have more values than are stored" in refused(tmp_path)
    path.write_bytes(3 * (b"\x80\x02" + b"N" * 2**19 + b"."))
    assert "it is no file of torch.save" in refused(tmp_path)
    path.write_bytes(numbers + 2 * (b"\x80\x02" + b"N" * 2**19 + system))
    assert TOO_MUCH in refused(tmp_path)


def test_plain_values_come_back_as_they_were_saved(tmp_path: Path) -> None:
    stored = {
        **{"bytes": b"abc", "array": bytearray(b"abc"), "empty": bytearray(), "number": 2**70, "set": {1, "two", None}},
        **{"complex": 1 + 2j, "tuples": ((), (1,), (1, 2.5), (1, 2, True), (1, 2, 3, False)), "size": torch.Size([2])},
        **{"dict": OrderedDict(a=1), "counter": Counter("aab"), "dtype": torch.bfloat16, "device": torch.device("cpu")},
        **{2**62: -1.5, None: -(2**31), True: 2**31, "long": list(range(3000)), "text": "\u00e9\U0001f600\udce9"},
    }
    torch.save(stored, tmp_path / "values.pt")
    read = load_weights_only(tmp_path / "values.pt")
    assert read == stored and [*map(type, read["tuples"])] == [tuple] * 5
    operations = call("collections.OrderedDict", b"]](" + text("weight") + EXPANDED + b"ea")  # as Python 2 wrote it
    torch.save(torch.ones(1), tmp_path / "one.pt")
    write_pickle_as(tmp_path / "values.pt", "zip", b"\x80\x02" + operations + b".", tmp_path / "one.pt")
    assert load_weights_only(tmp_path / "values.pt")["weight"].shape == (2**31 - 1,)


def test_a_device_that_torch_would_make_another_of_is_refused(tmp_path: Path) -> None:
    """It reads cuda:300 as cuda:44."""
    path = tmp_path / "values.pt"
    devices = [torch.device("cpu"), torch.device("cuda", 1), torch.device("cuda:127")]
    torch.save(devices, path)
    assert load_weights_only(path) == devices
    for arguments in (text("cuda") + b"M\x2c\x01", text("cuda:300"), text("cuda") + b"J\xff\xff\xff\xff"):
        write_pickle_as(path, "zip", b"\x80\x02" + call("torch.device", arguments) + b".")
        with pytest.raises(InputError, match=r"calls torch\.device in another way than torch does"):
            load_weights_only(path)


@pytest.mark.parametrize("old_format", [False, True])
@pytest.mark.parametrize("mmap", [False, True])
def test_tensors_come_back_as_they_were_saved(tmp_path: Path, old_format: bool, mmap: bool) -> None:
    """Of every type of numbers, with views of one storage, which they share again."""
    numbers = torch.arange(24.0)
    dtypes = [torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8]
    dtypes += [torch.uint8, torch.bool, torch.complex64, torch.complex128]
    dtypes += [] if old_format else [torch.uint16, torch.uint64, torch.float8_e5m2]
    stored = {str(dtype): numbers.to(dtype) for dtype in dtypes}
    stored |= {"all": numbers, "part": numbers[3:9], "turned": numbers.view(4, 6).T, "one": torch.tensor(2.5)}
    stored |= {"none": torch.empty(0, 3), "parameter": torch.nn.Parameter(numbers), "expanded": numbers[:1].expand(3)}
    stored["with attributes"] = numbers.clone()
    stored["with attributes"].note = "of no use"
    torch.save(stored, tmp_path / "values.pt", _use_new_zipfile_serialization=not old_format)
    read = load_weights_only(tmp_path / "values.pt", mmap=mmap)
    assert read.keys() == stored.keys()
    for name, tensor in stored.items():
        assert read[name].dtype == tensor.dtype and read[name].stride() == tensor.stride()
        assert type(read[name]) is Tensor and not read[name].requires_grad
        assert torch.equal(read[name].to(torch.complex128), tensor.to(torch.complex128)), name
    read["all"][4] = -1
    assert read["part"][1] == read["turned"][4, 0] == read["parameter"][4] == -1
    torch.save({"conjugate": torch.ones(2, dtype=torch.complex64).conj().imag}, tmp_path / "values.pt")
    with pytest.raises(InputError, match="in another way than torch does"):
        load_weights_only(tmp_path / "values.pt")


class OfXla:
    """A tensor that is pickled as torch pickles one of an XLA device."""

    def __init__(self, form: str, tensor: Tensor) -> None:
        self.values = tensor if form.endswith("cpu_tensor") else tensor.numpy()
        self.rebuild = getattr(torch._utils, form)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.rebuild, (self.values, torch.float32, "xla:0", False)


@pytest.mark.parametrize("size", [3, 2**24])
@pytest.mark.parametrize("form", ["_rebuild_device_tensor_from_numpy", "_rebuild_device_tensor_from_cpu_tensor"])
def test_tensors_of_xla_are_refused_with_what_to_do(tmp_path: Path, form: str, size: int) -> None:
    path = in_bin(tmp_path, {FC1: OfXla(form, torch.ones(size))})
    assert "holds tensors of an XLA device; save the weights from a CPU" in refused(path)


def test_a_large_file_of_an_early_xla_is_refused_with_what_to_do(tmp_path: Path) -> None:
    in_bin(tmp_path, {})
    operations = b"\x80\x02ctorch._utils\n_rebuild_xla_tensor\n" + b"N" * 2**24 + b"."
    write_pickle_as(tmp_path / "pytorch_model.bin", "zip", operations)
    assert "holds tensors of an XLA device; save the weights from a CPU" in refused(tmp_path)


@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated")
@pytest.mark.parametrize("wrong", WRONG_CALLS)
@pytest.mark.parametrize("name", ["pytorch_model.bin", "_epoch0_step1.ckpt", "model.pt"])
def test_pickles_that_call_torch_wrongly_are_refused(tmp_path: Path, name: str, wrong: str) -> None:
    """The file is an archive of torch with a pickle made by hand: {NAME: VALUE}."""
    path = tmp_path / name
    weights = b"}" + text(FC1) + WRONG_CALLS[wrong] + b"s"
    outer = {".ckpt": text("state_dict"), ".pt": text("model")}.get(path.suffix)
    in_bin(tmp_path, {})
    write_pickle_as(path, "zip", b"\x80\x02" + (weights if outer is None else b"}" + outer + weights + b"s") + b".")
    refused(tmp_path if name.endswith(".bin") else path)
    if name.endswith(".ckpt"):
        with pytest.raises(InputError, match=r"is not a checkpoint|cannot be read|holds more than"):
            stored_arguments(path)


def rewritten(path: Path, method: int, **parts: bytes) -> None:
    """The archive again, with other parts and another compression."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, parts.get(name.rpartition("/")[2].replace(".", "_"), content))


@pytest.mark.parametrize(
    ("method", "parts", "said"),
    [
        (zipfile.ZIP_DEFLATED, {"data_pkl": b"N" * 2**24}, "a part of it is compressed"),
        (zipfile.ZIP_DEFLATED, {}, "a part of it is compressed"),
        (zipfile.ZIP_STORED, {"data_pkl": b""}, "cannot be read"),
        (zipfile.ZIP_STORED, {"byteorder": b"sideways"}, "cannot be read"),
        (zipfile.ZIP_STORED, {"byteorder": b"big"}, "its numbers are not those of a little-endian machine"),
    ],
)
@pytest.mark.parametrize("form", [in_bin, in_checkpoint, in_fairseq_file])
def test_archives_that_torch_does_not_write_are_refused(
    tmp_path: Path, form: Callable[..., Path], method: int, parts: dict[str, bytes], said: str
) -> None:
    """Among them a bomb: what is compressed is refused without being unpacked."""
    path = form(tmp_path, weights_with())
    rewritten(tmp_path / "pytorch_model.bin" if path == tmp_path else path, method, **parts)
    assert said in refused(path)


def test_archives_of_other_programs_are_read(tmp_path: Path) -> None:
    """With a comment, more after their end, other sizes in their directory; but their parts must lie in the file."""
    in_bin(tmp_path, weights_with())
    path = tmp_path / "pytorch_model.bin"
    content = path.read_bytes()
    for changed in (content + b"more", content[:-2] + b"\4\0more"):
        path.write_bytes(changed)
        BartForConditionalGeneration.from_pretrained(tmp_path)
    for zip_64 in (False, True):
        with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(path, "w") as archive:
            for name in source.namelist():
                with archive.open(name, "w", force_zip64=zip_64) as part:
                    part.write(source.read(name))
        BartForConditionalGeneration.from_pretrained(tmp_path)
    path.write_bytes(b"more" + content)
    assert "holds more than tensors, or is damaged" in refused(tmp_path)
    with zipfile.ZipFile(io.BytesIO(content)) as source:
        (values,) = [member for member in source.infolist() if member.filename.endswith("/data/0")]
    entry = content.rindex(values.filename.encode()) - 46  # in the directory
    path.write_bytes(content[: entry + 20] + struct.pack("<II", 2**30, 2**30) + content[entry + 28 :])
    assert "its tensors have more values than are stored" in refused(tmp_path)
    path.write_bytes(content[: entry + 42] + struct.pack("<I", len(content) - 40) + content[entry + 46 :])
    assert "a part of it is cut" in refused(tmp_path)


def test_a_directory_of_too_many_parts_is_refused(tmp_path: Path) -> None:
    in_bin(tmp_path, weights_with())
    with zipfile.ZipFile(tmp_path / "pytorch_model.bin", "a") as archive:
        for number in range(2**16 - 100):
            archive.writestr(f"{number:020}", b"")
    assert "its directory has" in refused(tmp_path)


@pytest.mark.parametrize("form", [in_bin, in_fairseq_file])
def test_a_pickle_of_more_bytes_than_any_model_is_refused(tmp_path: Path, form: Callable[..., Path]) -> None:
    path = form(tmp_path, weights_with())
    file = tmp_path / "pytorch_model.bin" if path == tmp_path else path
    rewritten(file, zipfile.ZIP_STORED, data_pkl=bytes(2**24 + 1))
    assert "data.pkl has 16,777,217 bytes, more than 16,777,216" in refused(path)


def test_a_pickle_of_more_operations_than_any_model_is_refused(tmp_path: Path) -> None:
    for form in ("zip", "bare"):
        path = tmp_path / "model.pt"
        write_pickle_as(path, form, b"\x80\x02" + b"N" * 2**20 + b".")
        assert "more than 1,048,576 operations" in refused(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (struct.pack("<Q", 2**40), "its header has 1,099,511,627,776 bytes"),
        (struct.pack("<Q", 2**24 + 1) + b" " * 20, "its header has 16,777,217 bytes, more than 16,777,216"),
        (struct.pack("<Q", 2) + b"[]", "not a readable safetensors file"),
        (b"", "not a readable safetensors file"),
        (b"\x01", "not a readable safetensors file"),
    ],
)
def test_headers_of_safetensors_are_limited(tmp_path: Path, content: bytes, said: str) -> None:
    in_safetensors(tmp_path, weights_with())
    (tmp_path / "model.safetensors").write_bytes(content)
    assert said in refused(tmp_path)


@pytest.mark.parametrize("name", ["../part.bin", "/etc/passwd", "", ".", "a\0b", "a\nb", "a" * 300, 3, None, ["a"]])
def test_an_index_names_files_beside_it(tmp_path: Path, name: Any) -> None:
    path = in_shard(tmp_path, weights_with())
    (path / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": {TABLE: name}}))
    assert "not an index of shards" in refused(path)


def test_an_index_nested_too_deeply_is_refused(tmp_path: Path) -> None:
    path = in_shard(tmp_path, weights_with())
    (path / "pytorch_model.bin.index.json").write_text('{"weight_map": ' + "[" * 10**5)
    assert "more than 50 levels" in refused(path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"encoder_layers": 250}, "lacks model.encoder.layers.1.fc1.bias"),
        ({"encoder_layers": 10**9}, "configuration: encoder_layers=1000000000: give 256 at most"),
        ({"d_model": 2**50}, "configuration: d_model=1125899906842624: give 65536 at most"),
        ({"d_model": "large"}, "configuration: d_model='large'"),
        ({"prefix": "\n" * 10**6}, "its configuration holds prefix: str"),
        ({"init_std": torch.ones(3)}, "its configuration holds init_std: Tensor"),
        ({"bad_words_ids": [[[[1]]]]}, "its configuration holds bad_words_ids: list"),
    ],
)
def test_configurations_in_checkpoints_are_refused(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    assert said in refused(in_checkpoint(tmp_path, weights_with(), **change))


def test_every_setting_of_the_search_comes_back_from_a_checkpoint(tmp_path: Path) -> None:
    config = read_config(in_checkpoint(tmp_path, weights_with(), self="a name that Python itself uses"))
    assert config == read_config(in_checkpoint(tmp_path, weights_with()))
    search = {"sequence_bias": [[[5, 6], -1.5]], "suppress_tokens": [5] * 2000, "prefix": "Summarize this. " * 100}
    config = read_config(in_checkpoint(tmp_path, weights_with(), **search))
    assert {name: getattr(config, name) for name in search} == search


def test_a_long_training_can_be_read(tmp_path: Path) -> None:
    """Its history has more operations than a file of others may have."""
    history = [{"step": step, "loss": step / 7, "lr": 1e-4, "tokens_per_second": 1000.0} for step in range(100_000)]
    path = in_checkpoint(tmp_path, weights_with())
    torch.save({**torch.load(path, weights_only=True), "history": history}, path)
    stored = load_checkpoint(path)
    assert stored["history"] == history
    assert read_config(path).d_model == stored["hyper_parameters"]["config"]["d_model"]
    path = path.rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(InputError, match="more than 1,048,576 operations"):
        load_weights_only(path)


@pytest.mark.parametrize("form", [in_checkpoint, in_fairseq_file])
def test_a_file_is_read_once(tmp_path: Path, form: Callable[..., Path]) -> None:
    """Another file takes its place between the reading of its configuration and of its weights."""
    path = form(tmp_path, weights_with())
    stored = StoredModel(path)
    model = BartForConditionalGeneration(stored.config())
    (tmp_path / "other").mkdir()
    form(tmp_path / "other", weights_with(FC1, torch.zeros_like)).replace(path)
    assert torch.equal(stored.weights(model.state_dict())[f"model.{FC1}"], weights_with()[FC1])


def test_a_configuration_with_a_key_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "_epoch0_step1.ckpt"
    torch.save({"state_dict": {}, "hyper_parameters": {"config": {3: 4}}}, path)
    assert "its configuration holds int: int" in refused(path)
    torch.save({"state_dict": {}, "hyper_parameters": [1, 2]}, path)
    assert "holds no configuration" in refused(path)
    with pytest.raises(InputError, match="is not a checkpoint of this project; give another folder"):
        stored_arguments(path)
    torch.save({"hyper_parameters": {"arguments": {"seed": torch.ones(2)}}}, path)
    with pytest.raises(InputError, match="its configuration holds seed: Tensor"):
        stored_arguments(path)
    torch.save([1, 2], path)
    with pytest.raises(InputError, match="is not a checkpoint of this project; delete it"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"encoder_layers": 250}, "lacks model.encoder.layers.1.fc1.bias"),
        ({"encoder_layers": 10**9}, "configuration: encoder_layers=1000000000: give 256 at most"),
        ({"encoder_embed_dim": torch.ones(3)}, "its setting encoder_embed_dim is a Tensor"),
        ({"dropout": {"rate": 0.1}}, "its setting dropout is a dict"),
    ],
)
def test_settings_in_fairseqs_files_are_refused(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    assert said in refused(in_fairseq_file(tmp_path, weights_with(), **change))


@pytest.mark.parametrize(
    ("name", "tensor", "said"),
    [
        ("encoder.embed_positions.weight", torch.tensor(1.0), "lacks encoder.embed_positions.weight"),
        ("encoder.layers.0.self_attn.in_proj_weight", torch.tensor(1.0), "in_proj_weight is (), not three"),
        ("encoder.layers.0.self_attn.in_proj_bias", torch.ones(7), "in_proj_bias is (7,), not three"),
    ],
)
def test_tables_and_projections_of_fairseq_are_checked(tmp_path: Path, name: str, tensor: Tensor, said: str) -> None:
    assert said in refused(in_fairseq_file(tmp_path, weights_with(name, lambda _: tensor)))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (torch.ones(2, 16), torch.ones(24, 3)),
        (torch.ones(2, 16), torch.ones(10**5, 2)),
        (torch.tensor(1.0), torch.tensor(1.0)),
        (torch.ones(2, 16).half(), torch.ones(24, 2).half()),
    ],
)
def test_adapters_that_do_not_fit_are_refused(tmp_path: Path, first: Tensor, second: Tensor) -> None:
    layer = FC1.removesuffix(".weight")
    weights = weights_with(f"{layer}.lora_A.default.weight", lambda _: first)
    weights[f"{layer}.lora_B.default.weight"] = second
    weights[f"{layer}.base_layer.weight"] = weights.pop(FC1)
    assert f"{layer}.base_layer.weight and its adapter do not fit" in refused(in_checkpoint(tmp_path, weights))
    weights[f"{layer}.lora_B.default.weight"] = torch.ones(24, 2, dtype=torch.int64)
    assert "is int64" in refused(in_checkpoint(tmp_path, weights))
