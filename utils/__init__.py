"""Training, data, scores and reports around the bart package."""
