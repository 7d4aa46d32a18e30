"""What the two entry points do, each to be read from top to bottom."""
