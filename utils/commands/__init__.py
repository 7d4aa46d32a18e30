"""Programs, each run as python -m utils.commands.NAME."""
