"""Damaged weight files of every kind: each gives a model with finite weights, or one line says why it does not.

The files are written by torch, safetensors and zipfile, and changed by hand: in their bytes, in the operations of their
pickles, in the parts of their archives, in the header of safetensors. Any error but an InputError fails.
"""

import copy
import io
import json
import pickletools
import struct
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from hypothesis import strategies as st

from bart.errors import InputError
from bart.modeling.modeling_bart import BartForConditionalGeneration
from tests.fairseq_format import fairseq_weights, namespace
from tests.input_costs import InputCosts
from tests.published_forms import bare_weights, prefixed, write_model
from tests.utils.data.test_data_fuzz import try_many
from utils.checkpoint.checkpoint_io import load_checkpoint, stored_arguments

VOCABULARY, POSITIONS = 30, 12
# Inputs. The long form: bash scripts/test.sh -m slow -s tests/checkpoints/test_weight_fuzz.py
FORMS = [
    pytest.param(200, id="short"),
    pytest.param(5000, id="long", marks=[pytest.mark.slow, pytest.mark.timeout(7200)]),
]
# Names that torch accepts in a pickle, and some that it does not.
NAMES = [
    *("torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_tensor", "torch._utils _rebuild_parameter"),
    *("torch._utils _rebuild_sparse_tensor", "torch._utils _rebuild_qtensor", "torch._utils _rebuild_nested_tensor"),
    *("torch._utils _rebuild_tensor_v3", "torch._utils _rebuild_wrapper_subclass"),
    "torch._tensor _rebuild_from_type_v2",
    *("torch FloatStorage", "torch LongStorage", "torch BoolStorage", "torch ComplexFloatStorage", "torch HalfStorage"),
    *("torch.storage UntypedStorage", "torch QInt8Storage", "torch Tensor", "torch.nn.parameter Parameter"),
    *("torch Size", "torch device", "torch float32", "torch int64", "_codecs encode", "collections OrderedDict"),
    *("torch qint8", "torch uint4"),
    *("collections Counter", "builtins set", "builtins bytearray", "builtins complex", "argparse Namespace"),
    *("torch.serialization _get_layout", "os system", "builtins eval", "numpy ndarray"),
]
ODD_VALUES = [0, 1, -1, 2, 7, 255, 2**31 - 1, 2**40, 2**63, -(2**63), 1.5, None, True, "", "F32", "I64", "BOOL"]
ODD_VALUES += ["C64", "\n", "a" * 300, [], [0], [30, 16], [2**62, 2], {}]
ODD_VALUES += [{"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}]
# Operations that make numbers, and other values where a pickle has a number.
PICKLED_NUMBERS = [b"J" + struct.pack("<i", number) for number in (0, -1, 2, 16, 2**20, 2**31 - 1)]
PICKLED_NUMBERS += [b"\x88", b"\x89", b"N", b"]", b"U\1a", b"\x8a\xff" + b"\x7f" * 255, b"\x8a\x08" + b"\x7f" * 8]
PICKLED_NUMBERS += [b"G" + struct.pack(">d", number) for number in (0.0, -1.5, float("nan"), float("inf"))]


def write_files(folder: Path) -> dict[str, bytes]:
    """The content of a good file of each kind, by the path below ``folder``; folders have a config.json."""
    bare = bare_weights(VOCABULARY, POSITIONS)
    for name, container in (("bin", "bin"), ("old_bin", "bin of 2020"), ("safe", "safetensors"), ("shards", "shards")):
        write_model(folder / name, "whole", container, bare)
    model = BartForConditionalGeneration.from_pretrained(folder / "bin")
    weights = {f"model.{name}": tensor for name, tensor in prefixed(bare).items()}
    checkpoint = {
        "state_dict": weights,
        "hyper_parameters": {"config": model.config.to_dict(), "arguments": {"seed": 42}},
        "optimizer_states": [{"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 0.1}]}],
    }
    torch.save(checkpoint, folder / "_epoch0_step1.ckpt")
    published = {"args": namespace(model), "model": fairseq_weights(model), "extra_state": {"epoch": 1}}
    torch.save(published, folder / "model.pt")
    torch.save(published, folder / "old_model.pt", _use_new_zipfile_serialization=False)
    names = ["bin/pytorch_model.bin", "old_bin/pytorch_model.bin", "safe/model.safetensors", "_epoch0_step1.ckpt"]
    names += ["model.pt", "old_model.pt", "shards/model.safetensors.index.json"]
    return {name: (folder / name).read_bytes() for name in names}


def flip(content: bytes, draw: Random, start: int = 0, stop: int | None = None) -> bytes:
    """With one to four other bytes between ``start`` and ``stop``."""
    changed = bytearray(content)
    for _ in range(draw.randint(1, 4)):
        changed[draw.randrange(start, stop or len(changed))] ^= draw.randint(1, 255)
    return bytes(changed)


def cut(content: bytes, draw: Random) -> bytes:
    return content[: draw.randrange(len(content))]


def splice(content: bytes, draw: Random) -> bytes:
    """Without some bytes, and with others at their place."""
    at = draw.randrange(len(content))
    return content[:at] + draw.randbytes(draw.randint(0, 9)) + content[at + draw.randint(0, 9) :]


def flip_the_end(content: bytes, draw: Random) -> bytes:
    """Of an archive: its directory."""
    return flip(content, draw, start=len(content) * 9 // 10)


def pickle_place(content: bytes) -> tuple[int, int]:
    """Where the pickle that describes the tensors lies; in a file of no pickle, where its description does."""
    if content.startswith(b"PK"):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            (member,) = [member for member in archive.infolist() if member.filename.endswith("data.pkl")]
        start = member.header_offset + 30 + sum(struct.unpack_from("<HH", content, member.header_offset + 26))
        return start, start + member.file_size
    if content.startswith(b"\x80"):
        stream = io.BytesIO(content)
        for _ in range(3):
            list(pickletools.genops(stream))
        start = stream.tell()
        list(pickletools.genops(stream))
        return start, stream.tell()
    if content.startswith(b"{"):
        return 0, len(content)
    return 8, 8 + struct.unpack_from("<Q", content)[0]


def flip_in_pickle(content: bytes, draw: Random) -> bytes:
    return flip(content, draw, *pickle_place(content))


def with_pickle(content: bytes, new: bytes) -> bytes:
    """With another pickle in the place of that which describes the tensors."""
    start, stop = pickle_place(content)
    if not content.startswith(b"PK"):
        return content[:start] + new + content[stop:]
    return with_members(content, lambda name, old: {name: new if name.endswith("data.pkl") else old})


def with_members(content: bytes, change: Callable[[str, bytes], dict[str, bytes]], method: int = 0) -> bytes:
    """An archive with each part replaced by those that ``change`` makes of it."""
    written = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as archive, zipfile.ZipFile(written, "w", method) as changed:
        for name in archive.namelist():
            for new_name, new in change(name, archive.read(name)).items():
                changed.writestr(new_name, new)
    return written.getvalue()


def change_operations(content: bytes, draw: Random) -> bytes:
    """With some of the pickle's operations left out, doubled, exchanged, or with other numbers and names."""
    start, stop = pickle_place(content)
    if not content.startswith((b"PK", b"\x80")):
        return change_header(content, draw)
    pickled = content[start:stop]
    starts = [place for _, _, place in pickletools.genops(pickled)]
    parts = [pickled[place:end] for place, end in zip(starts, [*starts[1:], len(pickled)], strict=True)]
    for _ in range(draw.randint(1, 3)):
        at, other = draw.randrange(len(parts)), draw.randrange(len(parts))
        change = draw.choice(["leave out", "double", "exchange", "copy", "number", "name", "call"])
        globals_at = [place for place, part in enumerate(parts) if part[:1] == b"c"]
        if change == "leave out":
            parts[at] = b""
        elif change == "double":
            parts[at] *= 2
        elif change == "exchange":
            parts[at], parts[other] = parts[other], parts[at]
        elif change == "copy":
            parts[at] = parts[other]
        elif change == "number":
            numbers = [place for place, part in enumerate(parts) if part[:1] in (b"K", b"M", b"J")]
            parts[draw.choice(numbers)] = draw.choice(PICKLED_NUMBERS)
        elif change == "name" and globals_at:
            module, name = draw.choice(NAMES).encode().split()
            parts[draw.choice(globals_at)] = b"c" + module + b"\n" + name + b"\n"
        else:
            module, name = draw.choice(NAMES).encode().split()
            arguments = draw.choice([b")", b"K\x05\x85", b"J\xff\xff\xff\x7f\x85", b"(tNN\x87", b"}\x85", b"]]\x86"])
            parts[at] = b"c" + module + b"\n" + name + b"\n" + arguments + draw.choice([b"R", b"\x81"])
    return with_pickle(content, b"".join(parts))


def change_members(content: bytes, draw: Random) -> bytes:
    """An archive with parts left out, renamed, doubled, compressed or of other content; else other bytes."""
    if not content.startswith(b"PK"):
        return splice(content, draw)
    kind = draw.choice(["leave out", "rename", "double", "compress", "cut", "fill"])

    def change(name: str, old: bytes) -> dict[str, bytes]:
        if draw.random() > 0.2:
            return {name: old}
        other = name + draw.choice(["", "x", "/data.pkl", "\n"])
        return {
            "leave out": {},
            "rename": {other.upper(): old},
            "double": {name: old, f"x/{name}": old},
            "cut": {name: old[: draw.randint(0, len(old))]},
            "fill": {name: draw.randbytes(len(old))},
        }.get(kind, {name: old})

    return with_members(content, change, zipfile.ZIP_DEFLATED if kind == "compress" else zipfile.ZIP_STORED)


def change_header(content: bytes, draw: Random) -> bytes:
    """The header of safetensors, or an index, with other values; else other operations of a pickle."""
    start, stop = pickle_place(content)
    if content.startswith((b"PK", b"\x80")):
        return change_operations(content, draw)
    values = json.loads(content[start:stop])
    for _ in range(draw.randint(1, 3)):
        place: Any = values
        while True:
            keys = list(place) if isinstance(place, dict) else range(len(place))
            key = draw.choice(keys)
            if draw.random() < 0.4 or not isinstance(place[key], (dict, list)) or not place[key]:
                break
            place = place[key]
        if isinstance(place, dict) and draw.random() < 0.3:
            place[draw.choice(["lm_head.weight", "\n", "__metadata__", "model.shared.weight"])] = place.pop(key)
        else:
            place[key] = copy.deepcopy(draw.choice(ODD_VALUES))
        if not values:
            break
    header = json.dumps(values).encode()
    return header if start == 0 else struct.pack("<Q", len(header)) + header + content[stop:]


def change_values(content: bytes, draw: Random) -> bytes:
    """Other bytes where the values of the weights are, mostly."""
    _, stop = pickle_place(content)
    return flip(content, draw, start=min(stop, len(content) - 1))


CHANGES = [flip, flip_in_pickle, flip_in_pickle, flip_the_end, cut, splice, change_operations, change_operations]
CHANGES += [change_members, change_header, change_values]


@pytest.mark.parametrize("inputs", FORMS)
def test_weight_files(tmp_path: Path, inputs: int) -> None:
    files = write_files(tmp_path)
    ends: Counter[str] = Counter()
    causes: Counter[str] = Counter()  # what torch, zipfile or safetensors raised; NoneType: what is seen here
    costs = InputCosts()

    def check(name: str, change: Callable[[bytes, Random], bytes], seed: int) -> None:
        path = tmp_path / name
        path.write_bytes(change(files[name], Random(seed)))
        source = path if path.parent == tmp_path else path.parent
        readers: list[Callable[[Any], Any]] = [BartForConditionalGeneration.from_pretrained]
        if path.suffix == ".ckpt":
            readers += [load_checkpoint, stored_arguments]
        with costs.measure(f"{name} {change.__name__} {seed}"):
            for read in readers:
                try:
                    result = read(source)
                except InputError as error:
                    message = str(error)
                    assert str(source) in message and message.isprintable() and len(message) < 1000, message
                    ends["refused"] += 1
                    causes[type(error.__cause__).__name__] += 1
                else:
                    ends["read"] += 1
                    if isinstance(result, BartForConditionalGeneration):
                        assert all(bool(tensor.isfinite().all()) for tensor in result.state_dict().values())
        path.write_bytes(files[name])

    names, changes, seeds = st.sampled_from(list(files)), st.sampled_from(CHANGES), st.integers(0, 2**32)
    try_many(inputs, check, name=names, change=changes, seed=seeds)
    print(f"\n{dict(ends)}, {dict(causes)}")
    costs.check()
    assert min(ends["read"], ends["refused"]) > inputs / 20  # both are tried
