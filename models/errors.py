"""The one error of this package that a user can cause."""


class CheckpointError(ValueError):
    """A checkpoint is missing, torn, of another format, or not the one that was asked for."""
