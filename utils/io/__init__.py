"""Files: written whole or not at all, JSON, locks, and artifacts that are made once."""
