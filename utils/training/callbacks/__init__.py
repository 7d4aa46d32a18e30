"""Callbacks of a training: checks, history, early stopping, progress and checkpoints.

Lightning calls them in the order in which ``utils.training.trainer`` lists them, checkpoint callbacks last:

1. ``CheckSameData`` refuses to train if the processes have read different data, before they use it.
2. ``RngState`` restores the random number generators before the first batch draws from them.
3. ``StopOnNonFinite`` stops at a loss or gradient that is not finite, before it is recorded or saved.
4. ``TrainingHistory`` records the step, so that the callbacks after it find the newest values.
5. ``ValidateAtEnd`` requests a validation after the last step.
6. ``EarlyStopping`` counts validations that are recorded already.
7. ``Progress`` prints the newest values of the history.
8. ``CheckpointSaver`` saves last, with the states of all others as they are after the step and its validation.
"""
