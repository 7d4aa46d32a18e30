"""What happens beside the steps of a training.

Lightning calls them in the order in which ``utils.training.trainer`` lists them, checkpoint callbacks last:

1. ``CheckSameData`` refuses a resumed run with other data before anything is done with it.
2. ``RngState`` sets the random number generators before a batch draws from them.
3. ``StopOnNonFinite`` ends a training whose loss or gradient is not finite before it is recorded or saved.
4. ``TrainingHistory`` records the step, so that those behind it find the newest values.
5. ``ValidateAtEnd`` asks for a validation after the last step.
6. ``EarlyStopping`` counts validations that are recorded already.
7. ``Progress`` prints what the history holds.
8. ``CheckpointSaver`` saves at last, with the states of all others as they are after the step and its validation.
"""
