"""Input formats: tables, data sets of the hub, and the corpora that this project writes."""
