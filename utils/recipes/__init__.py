"""What the programs do, each to be read from top to bottom."""
