"""The forms in which people have pairs: tables, and data sets of the hub."""
