"""Generate summaries of a split, score them, and write both."""
