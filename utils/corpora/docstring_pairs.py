"""Reads pairs from the source text of a Python module: the body of a docstring, and its summary line (PEP 257).

For pre-training it also reads documents: whole docstrings and comments, paragraph by paragraph.
"""

import ast
import re
import warnings
from collections.abc import Iterable, Iterator

from ..data.formats.pair import Pair
from .python_sources import Readable

FEWEST_SOURCE_WORDS = 10
MOST_SOURCE_WORDS = 400  # the rest is cut off; few bodies have more
FEWEST_TARGET_WORDS = 3
MOST_TARGET_WORDS = 30

_HEADER_BYTES = 1000  # a program that generated a module says so in them
_LEAST_LETTERS = 0.8  # share of letters and spaces among the characters of prose; code and tables have fewer
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
# Directives whose indented content is not prose.
_LITERAL_DIRECTIVES = {"code", "code-block", "doctest", "figure", "image", "ipython", "math", "plot", "sourcecode"}
_DIRECTIVE = re.compile(r"\.\. ([\w-]+)::\s*(.*)")
_ROLE = re.compile(r":[\w:+-]+:`[~!]?([^`<]+)[^`]*`")  # :class:`~package.Name` and :ref:`text <label>`
_EPYDOC = re.compile(r"[BCILMU]\{([^{}<]*)[^{}]*\}")  # L{Deferred<twisted.internet.defer.Deferred>}: the text alone
_ONLY_MARKS = re.compile(r"[\W_]*")  # rulers and the underlines of headings
_EXAMPLE_HEADING = re.compile(r"(?:code )?examples?:*", re.IGNORECASE)  # nothing is left under it


def pairs_of_file(file: Readable) -> list[Pair]:
    """Read the pairs of a module's file."""
    return pairs_of_module(file.read_bytes())


def pairs_of_module(content: bytes) -> list[Pair]:
    """Read the pairs of a module in the order of its text; none if it is not valid Python or a program wrote it."""
    tree = _parse(content)
    if tree is None:
        return []
    pairs = (_pair_of_docstring(docstring) for docstring in _docstrings(tree))
    return [pair for pair in pairs if pair is not None]


def documents_of_file(file: Readable) -> list[list[str]]:
    """Read the documents of a module's file."""
    return documents_of_module(file.read_bytes())


def documents_of_module(content: bytes) -> list[list[str]]:
    """Read the prose of a module as documents of one-line paragraphs: its docstrings, then its blocks of comments.

    There are none if the module is not valid Python or a program wrote it.
    """
    tree = _parse(content)
    if tree is None:
        return []
    docstrings = map(paragraphs_of_text, _docstrings(tree))
    comments = _comment_blocks(content.decode("utf-8", "replace"))
    return [document for document in [*docstrings, *comments] if document]


def paragraphs_of_text(text: str) -> list[str]:
    """Read the paragraphs of prose in a text that has the markup of docstrings."""
    return _paragraphs(_prose_lines(text))


def _parse(content: bytes) -> ast.Module | None:
    """Parse a module; None if it is not valid Python or a program wrote it."""
    if b"generated" in content[:_HEADER_BYTES].lower():
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about invalid escapes in other people's strings
        try:
            return ast.parse(content)
        except (SyntaxError, ValueError):
            return None


def _comment_blocks(text: str) -> Iterator[list[str]]:
    """Yield the paragraphs of prose of every run of comment lines; an empty comment parts paragraphs."""
    block: list[str] = []
    for line in [*text.split("\n"), ""]:
        comment = line.strip()
        if comment.startswith("#"):
            block.append(comment.lstrip("#:!").strip())
        elif block:
            yield _paragraphs(block)
            block = []


def _paragraphs(lines: Iterable[str]) -> list[str]:
    """Join the lines between blank ones, and leave out paragraphs of code, tables and lists of names."""
    paragraphs, current = [], []
    for line in [*lines, ""]:
        if line:
            current.append(line)
            continue
        paragraph = " ".join(_without_inline_markup(" ".join(current)).split())
        current = []
        if _is_prose(paragraph):
            paragraphs.append(paragraph)
    return paragraphs


def _is_prose(paragraph: str) -> bool:
    """Whether a paragraph has enough words, and enough letters in them."""
    words = paragraph.split()
    letters = sum(character.isalpha() or character == " " for character in paragraph)
    return len(words) >= FEWEST_TARGET_WORDS and letters >= _LEAST_LETTERS * len(paragraph)


def _docstrings(tree: ast.Module) -> Iterator[str]:
    """Yield every docstring of a module. Only statements are visited: expressions, most of a tree, hold none."""
    pending: list[ast.AST] = [tree]
    while pending:
        node = pending.pop()
        if isinstance(node, _DOCUMENTED) and (docstring := ast.get_docstring(node)) is not None:
            yield docstring.replace("\0", r"\0")  # as its author wrote it; no line of a data set may hold a NUL
        for block in ("finalbody", "orelse", "handlers", "body"):
            pending.extend(reversed(getattr(node, block, ())))


def _pair_of_docstring(docstring: str) -> Pair | None:
    """Split a cleaned docstring at the blank line after its first line; None if that gives no usable pair."""
    summary, _, rest = docstring.partition("\n")
    blank, _, body = rest.partition("\n")
    if blank.strip() or summary.startswith("..") or summary.endswith(":"):
        return None
    target = _without_inline_markup(summary).split()
    source = _without_inline_markup(" ".join(_prose_lines(body))).split()[:MOST_SOURCE_WORDS]
    if len(source) < FEWEST_SOURCE_WORDS or not FEWEST_TARGET_WORDS <= len(target) <= MOST_TARGET_WORDS:
        return None
    return Pair(" ".join(source), " ".join(target))


def _without_inline_markup(text: str) -> str:
    return _EPYDOC.sub(r"\1", _ROLE.sub(r"\1", text)).replace("`", "").replace("**", "")


def _prose_lines(body: str) -> Iterator[str]:
    """Yield the lines of a docstring's body without its examples, code, formulas, rulers and directive names.

    A blank line is yielded as "".
    """
    in_fence = in_example = False
    literal_indent: int | None = None  # lines indented by more belong to a literal block
    for line in body.split("\n"):
        # Fences and blank lines.
        text = line.strip()
        indent = len(line) - len(line.lstrip())
        if text.startswith(("```", "~~~")):
            in_fence = not in_fence
            continue
        if not text:
            in_example = False
            yield ""
            continue

        # A literal block ends with its indentation, an example at a blank line.
        if literal_indent is not None and indent <= literal_indent:
            literal_indent = None
        in_example = in_example or text.startswith(">>>")
        if in_fence or in_example or literal_indent is not None:
            continue

        # Directives, and paragraphs that announce a literal block.
        if directive := _DIRECTIVE.fullmatch(text):
            name, text = directive.groups()
            if name in _LITERAL_DIRECTIVES:
                literal_indent = indent
                continue
        elif text.endswith("::"):
            literal_indent = indent
            text = text.removesuffix(":")

        if not _ONLY_MARKS.fullmatch(text) and not _EXAMPLE_HEADING.fullmatch(text):
            yield text
