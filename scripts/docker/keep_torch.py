"""Split the locked requirements for an image that brings its own torch: what pip installs, and what must stay.

`keep_torch.py split FOLDER` reads FOLDER/runtime.txt, and numpy1.txt if the image's numpy is older than 2. It writes
requirements.txt and constraints.txt there.
`keep_torch.py check FOLDER` fails if a package that had to stay has changed, or if a locked one does not work.
"""

import importlib
import re
import sys
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path

# torch was compiled against numpy's binary interface. The lock has the others because torch needs them.
KEPT = ("torch", "numpy", "setuptools", "sympy", "mpmath", "networkx")

# A requirement in a list, with its extras, marker and hashes: up to the first end of a line without a backslash.
REQUIREMENT = re.compile(r"^([A-Za-z0-9][\w.-]*)(?:\\\n|.)*", re.MULTILINE)


def split(folder: Path) -> None:
    """Leave the packages that stay out of the requirements, and constrain them to the versions of the image."""
    kept = {name: installed for name in KEPT if (installed := installed_version(name)) is not None}
    if "torch" not in kept:
        sys.exit("error: the base image has no torch; see scripts/docker/build.sh --help for images that have it")
    wanted = read_requirements(folder / "runtime.txt")
    if kept.get("numpy", "2").startswith("1."):
        wanted |= read_requirements(folder / "numpy1.txt")
    write_lines(folder / "requirements.txt", (lines for name, lines in wanted.items() if name not in kept))
    write_lines(folder / "constraints.txt", (f"{name}=={installed}" for name, installed in kept.items()))


def check(folder: Path) -> None:
    """Compare the installed versions with the constraints, import what was installed, and read a Parquet file."""
    from packaging.requirements import Requirement  # of the lock: `split` may not find it

    for name, lines in read_requirements(folder / "constraints.txt").items():
        before = lines.partition("==")[2]
        if installed_version(name) != before:
            sys.exit(f"error: {name} was {before} in the base image and is {installed_version(name)} now")
    modules = modules_by_package()
    for name, lines in read_requirements(folder / "requirements.txt").items():
        requirement = Requirement(lines.partition("--hash")[0].replace("\\\n", ""))
        if requirement.marker is not None and not requirement.marker.evaluate():
            continue  # for another system
        if installed_version(name) is None:
            sys.exit(f"error: {name} is not installed")
        for module in modules.get(name, ()):
            try:
                importlib.import_module(module)
            except ImportError as error:
                sys.exit(f"error: {name} {installed_version(name)} does not work in this image: {error}")
    import pyarrow.parquet
    import torch

    torch.ones(1).numpy()  # fails if numpy's binary interface has changed
    path = folder / "check.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"text": ["A text."]}), path)
    read = pyarrow.parquet.read_table(path).to_pylist()
    path.unlink()
    if read != [{"text": "A text."}]:
        sys.exit(f"error: pyarrow {version('pyarrow')} read {read} from a Parquet file of its own")


def modules_by_package() -> dict[str, list[str]]:
    """Return the modules that each installed package is imported as, by its canonical name."""
    modules: dict[str, list[str]] = {}
    for module, packages in packages_distributions().items():
        if module.isidentifier() and not module.startswith("_"):
            for package in packages:
                modules.setdefault(canonical(package), []).append(module)
    return modules


def canonical(package: str) -> str:
    return re.sub(r"[-_.]+", "-", package).lower()


def read_requirements(path: Path) -> dict[str, str]:
    """Map the canonical name of each package in a list of requirements to its lines."""
    return {canonical(match[1]): match[0] for match in REQUIREMENT.finditer(path.read_text(encoding="utf-8"))}


def write_lines(path: Path, lines: Iterable[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def installed_version(package: str) -> str | None:
    """Return a package's version, or None if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


if __name__ == "__main__":
    {"split": split, "check": check}[sys.argv[1]](Path(sys.argv[2]))
