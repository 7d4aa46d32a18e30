"""What people look at: the results page and the model card."""
