"""For tests of examples that need other packages, each in a folder of its own."""

import re
import subprocess
import sys
from pathlib import Path

from utils.corpora.docstring_pairs import pairs_of_file

ROOT = Path(__file__).parents[2]


def install(folder: Path, *packages: str) -> None:
    """Install packages for this Python into a folder, which may then be put on its path. Needs a package index."""
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(folder), *packages]
    subprocess.run(pip, check=True, timeout=900)


def python_block(document: str, number: int = 0) -> str:
    """Return an example in Python of a document."""
    blocks: list[str] = re.findall("^```python\n(.*?)^```", (ROOT / document).read_text(), re.MULTILINE | re.DOTALL)
    return blocks[number]


def texts_of_the_corpus(count: int) -> list[str]:
    """Return texts of the docstring corpus, from modules that Python has in each version."""
    library = Path(subprocess.__file__).parent
    found: list[str] = []
    for module in sorted(library.glob("[a-z]*.py")):
        found += [pair.source for pair in pairs_of_file(module)]
        if len(found) >= count:
            return found[:count]
    raise AssertionError(f"{len(found)} texts")
