"""Writes wheels as PEP 427 describes them, with the zipfile module alone, and the lines that lock them."""

import hashlib
import zipfile
from collections.abc import Mapping
from pathlib import Path


def write_wheel(folder: Path, name: str, version: str, files: Mapping[str, str]) -> str:
    """Write a wheel for every platform; returns the line that locks it."""
    information = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n\nWhat {name} is good for in general.\n"
    wheel = "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    path = folder / f"{name}-{version}-py3-none-any.whl"
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for file, content in {**files, f"{information}/METADATA": metadata, f"{information}/WHEEL": wheel}.items():
            archive.writestr(file, content)
        archive.writestr(f"{information}/RECORD", "".join(f"{file},,\n" for file in archive.namelist()))
    return f"{name}=={version} --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
