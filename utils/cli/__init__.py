"""Command lines: flags, checks of their values, and the start and end of a program."""
