from utils.corpora.docstring_pairs import pairs_of_module
from utils.data.formats.pair import Pair

BODY = "The body has at least ten words, so that it is kept."


def test_every_kind_of_definition_is_read_in_the_order_of_the_text() -> None:
    names = "the module", "the class", "the method", "the coroutine", "the nested one", "one in a branch"
    texts = [f'"""Summary of {name}.\n\n{{indent}}{BODY}\n{{indent}}"""' for name in names]
    module, in_class, method, coroutine, nested, branch = (
        text.format(indent=" " * indent) for text, indent in zip(texts, (0, 4, 8, 4, 8, 8), strict=True)
    )
    content = f"""{module}
class A:
    {in_class}
    def method(self):
        {method}
async def coroutine():
    {coroutine}
    def nested():
        {nested}
try:
    import json
except ImportError:
    def fallback():
        {branch}
"""
    assert pairs_of_module(content.encode()) == [Pair(BODY, f"Summary of {name}.") for name in names]


def pair_of(docstring: str) -> Pair | None:
    pairs = pairs_of_module(f'"""{docstring}"""'.encode())
    return pairs[0] if pairs else None


def test_examples_code_and_formulas_are_left_out() -> None:
    docstring = """Do what is wanted.

    The first words of the text.
    See :class:`~package.Name` and ``code``.

    Examples
    --------
    >>> call()
    result
    that goes on

    .. math::

        x = y

    .. note:: This note stays here.

    A literal block follows::

        hidden line

    ```python
    hidden = True
    ```

    The last **bold** words.
    """
    assert pair_of(docstring) == Pair(
        "The first words of the text. See package.Name and code. This note stays here. A literal block follows: "
        "The last bold words.",
        "Do what is wanted.",
    )


def test_only_a_summary_line_with_a_body_makes_a_pair() -> None:
    assert pair_of(f"A good summary.\n\n{BODY}") == Pair(BODY, "A good summary.")
    assert pair_of(f"\n    A good summary.\n\n    {BODY}\n    ") == Pair(BODY, "A good summary.")
    assert pair_of("A summary without a body.") is None
    assert pair_of(f"A summary that goes on\non a second line.\n\n{BODY}") is None
    assert pair_of(f"Too short.\n\n{BODY}") is None
    assert pair_of(f"{'word ' * 31}\n\n{BODY}") is None
    assert pair_of("A good summary.\n\nA body of too few words.") is None
    assert pair_of(f"These are the arguments:\n\n{BODY}") is None


def test_a_long_body_is_cut() -> None:
    assert pair_of(f"A good summary.\n\n{'word ' * 1000}") == Pair(" ".join(["word"] * 400), "A good summary.")


def test_lines_stay_lines_whatever_the_docstring_holds() -> None:
    pair = pair_of(f"A good\u2028summary\u0085indeed.\n\n{BODY}\x0b\x0c\u2029")
    assert pair == Pair(BODY, "A good summary indeed.")


def test_an_escaped_nul_stays_as_it_is_written() -> None:
    """Python 3.14's base64 has an escaped NUL in a docstring; a data set may hold none."""
    pair = pair_of("Pad with b'\\0' to full length.\n\n" + "A text pads it with b'\\0' up to a multiple of four bytes.")
    assert pair is not None and pair.target == r"Pad with b'\0' to full length." and r"b'\0' up to" in pair.source


def test_what_is_not_python_and_what_a_program_wrote_are_passed_over() -> None:
    good = f'"""A good summary.\n\n{BODY}"""\n'
    assert len(pairs_of_module(good.encode())) == 1
    assert pairs_of_module((good + "def (:\n").encode()) == []
    assert pairs_of_module(good.encode() + b"\xff\x00") == []
    assert pairs_of_module(("# Automatically generated from other.py\n" + good).encode()) == []
