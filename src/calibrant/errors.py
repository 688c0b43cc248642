"""The one exception for a mistake in what the user gave."""


class InputError(ValueError):
    """A value that the user gave cannot be used.

    The message is one sentence: which value was wrong, and what would be right. The command line prints it
    without a traceback and exits with status 2.
    """
