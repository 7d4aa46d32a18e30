"""Lightning's side of a training."""
