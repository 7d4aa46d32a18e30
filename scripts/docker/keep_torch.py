"""Split the locked requirements for an image that brings its own torch: what pip installs, and what must stay.

`keep_torch.py split FOLDER` reads FOLDER/runtime.txt and writes requirements.txt and constraints.txt there.
`keep_torch.py check FOLDER` fails if a package that had to stay has changed.
"""

import re
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

# torch was compiled against numpy's binary interface. The lock has the others because torch needs them.
KEPT = ("torch", "numpy", "setuptools", "sympy", "mpmath", "networkx")


def split(folder: Path) -> None:
    """Leave the packages that stay out of the requirements, and constrain them to the versions of the image."""
    kept = {name: installed for name in KEPT if (installed := installed_version(name)) is not None}
    if "torch" not in kept:
        sys.exit("error: the base image has no torch; see scripts/docker/build.sh --help for images that have it")
    lines = (folder / "runtime.txt").read_text(encoding="utf-8").splitlines()
    wanted = [line for line in lines if re.split(r"[=\s]", line)[0] not in kept]
    (folder / "requirements.txt").write_text("".join(f"{line}\n" for line in wanted), encoding="utf-8")
    constraints = "".join(f"{name}=={installed}\n" for name, installed in kept.items())
    (folder / "constraints.txt").write_text(constraints, encoding="utf-8")


def check(folder: Path) -> None:
    """Compare the installed versions with the constraints, and check that torch still works with numpy."""
    for line in (folder / "constraints.txt").read_text(encoding="utf-8").splitlines():
        name, _, before = line.partition("==")
        if installed_version(name) != before:
            sys.exit(f"error: {name} was {before} in the base image and is {installed_version(name)} now")
    import torch

    torch.ones(1).numpy()  # fails if numpy's binary interface has changed


def installed_version(package: str) -> str | None:
    """Return a package's version, or None if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


if __name__ == "__main__":
    {"split": split, "check": check}[sys.argv[1]](Path(sys.argv[2]))
