"""Exceptions for problems that the user can solve."""


class InputError(ValueError):
    """Bad input. The message is one line that names the file, line or flag and says what to do.

    Entry points print it as ``error: <message>`` and exit with code 2. Any other exception is a bug and keeps its
    traceback.
    """


class OutOfMemory(InputError):
    """Input that does not fit into memory. Of several processes, each one that runs out of memory reports it."""
