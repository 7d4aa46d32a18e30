"""Writes results.html from its templates."""

import base64
import hashlib
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, select_autoescape
from markupsafe import Markup

from ...evaluation.examples import ScoredExamples
from ...evaluation.rouge import ROUGE_TYPES
from ...io.atomic_files import atomic_write
from ...io.run_files import PAGE_FILE
from .before import read_before
from .content import collect
from .examples import packed_sources, packed_summaries

_TEMPLATES = Path(__file__).parent / "templates"


def write_page(folder: Path, report: dict[str, Any] | None = None, examples: ScoredExamples | None = None) -> None:
    """Write results.html into a results folder.

    Args:
        folder: The results folder. The course of a training and other evaluations are read from it; summaries of the
            pretrained model for the same examples, if it has them, are shown beside those of the evaluation.
        report: The evaluation to show, if there is one.
        examples: Its examples.

    Raises:
        InputError: A file of the folder does not have the form that this project writes.
    """
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=select_autoescape(default=True),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style, script = ((_TEMPLATES / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    before = read_before(folder, report["split"]) if report and examples else None
    parts = environment.get_template("page.html").generate(
        content=collect(folder, report),
        comparison=before.comparison if before else None,
        rouge_types=ROUGE_TYPES,
        style=Markup(style),
        script=Markup(script),
        policy=_policy(style, script),
        summaries=Markup(packed_summaries(examples, before)) if examples else None,
        sources=Markup(packed_sources(examples)) if examples else None,
    )
    with atomic_write(folder / PAGE_FILE) as file:
        file.writelines(parts)


def _policy(style: str, script: str) -> str:
    """Write a policy that lets a browser use this style and this script, and nothing from a text or a network."""
    allowed = f"style-src {_hash(style)}; script-src {_hash(script)}; img-src data:"
    return f"default-src 'none'; {allowed}; base-uri 'none'; form-action 'none'"


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
