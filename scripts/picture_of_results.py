"""Draw the beginning of a results page as a PNG, for README.md. Needs Chromium.

    python -m scripts.picture_of_results <results folder> docs/results_page.png
"""

import sys
import tempfile
from pathlib import Path

from PIL import Image

from tests.chromium import Chromium
from utils.io.run_files import PAGE_FILE

_WIDTH, _HEIGHT = 1200, 1900  # pixels: down to the first curves
_COLOURS = 256  # of the picture; fewer make a smaller file


def draw(folder: Path, picture: Path) -> None:
    """Open the page of a results folder in a tall window, and write a picture of it."""
    with tempfile.TemporaryDirectory() as profile, Chromium(Path(profile), _WIDTH, _HEIGHT) as browser:
        browser.emulate(_WIDTH, _HEIGHT)
        browser.open(folder / PAGE_FILE)
        browser.wait_for("document.getElementById('loading').hidden")
        browser.value("document.documentElement.style.overflow = 'hidden'")  # hides the scroll bar
        browser.screenshot(picture)
    Image.open(picture).convert("RGB").quantize(_COLOURS).save(picture, optimize=True)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python -m scripts.picture_of_results RESULTS PICTURE")
    draw(Path(sys.argv[1]), Path(sys.argv[2]))
