"""What means: the user gave something that cannot be used."""


class InputError(ValueError):
    """Bad input, described in one line that names the file, line or flag and says what to do.

    Entry points print it as ``error: <message>`` and exit with code 2; anything else is a bug and keeps its traceback.
    """


class OutOfMemory(InputError):
    """Input that does not fit into memory. Of several processes the one that it happens to says so, whichever it is."""
