"""A folder to start programs in whose modules have the names of this project's, and are none of them."""

from pathlib import Path


def write_foreign_modules(folder: Path) -> None:
    """Packages that end whatever imports them with the exit code 1."""
    for name in ("bart", "scripts", "utils"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(f"raise SystemExit('{name} of the current folder')\n")
