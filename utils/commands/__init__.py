"""What is run as python -m utils.commands.NAME."""
