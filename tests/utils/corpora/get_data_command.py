"""Runs scripts/get_data.sh as a process, and makes small corpora for it."""

import hashlib
import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path

ROOT = Path(__file__).parents[3]
SPLITS = ("train", "val", "test")


def get_data(*arguments: str | Path, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", str(ROOT / "scripts" / "get_data.sh"), *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "PYTHON": sys.executable, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def refusal(process: subprocess.CompletedProcess[str]) -> str:
    """Return the one line with which a command refused, after its progress bars."""
    assert process.returncode == 2, process.stderr
    line = process.stderr.splitlines()[-1]
    assert line.startswith("error: ") and "Traceback" not in process.stderr, process.stderr
    return line


def lines_of(corpus: Path) -> dict[str, list[str]]:
    """Read the line files of a corpus."""
    names = [f"{split}.{side}" for split in SPLITS for side in ("source", "target")]
    return {name: (corpus / name).read_text(encoding="utf-8").removesuffix("\n").split("\n") for name in names}


def left_behind(folder: Path) -> list[str]:
    """List all files below a folder but the lock."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.name != ".get_data.lock")


def story_name(url: str) -> str:
    return hashlib.sha1(url.encode()).hexdigest() + ".story"


def tar_of(files: dict[str, bytes], mode: str = "w:gz") -> bytes:
    """Return the content of an archive of the files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()
