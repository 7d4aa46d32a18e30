"""Command lines: flags, their checks, and how a program begins and ends."""
