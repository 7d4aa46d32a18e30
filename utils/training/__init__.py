"""Training with Lightning: the module, the trainer, callbacks, strategies, precision, and estimates."""
