"""Exceptions for problems that the user can solve, and how their messages show what others wrote."""


class InputError(ValueError):
    """Bad input. The message is one line that names the file, line or flag and says what to do.

    Entry points print it as ``error: <message>`` and exit with code 2. Any other exception is a bug and keeps its
    traceback.
    """


class OutOfMemory(InputError):
    """Input that does not fit into memory. Of several processes, each one that runs out of memory reports it."""


def printable(text: str, longest: int = 200) -> str:
    """Return a text of a file for a message: on one line, at most ``longest`` characters, each of them printable."""
    line = " ".join(text[: 2 * longest].split())
    line = "".join(letter if letter.isprintable() else "?" for letter in line)
    return line if len(line) <= longest else f"{line[: longest - 4]} ..."
