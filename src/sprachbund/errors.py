"""The one family of exceptions: each says what was found, where, and what to do about it.

The command line prints the message of a `SprachbundError` as one line and exits with status 2.
"""


class SprachbundError(Exception):
    """Base of every error that a user can mend."""


class DataError(SprachbundError):
    """A row, file or selection of the corpus is not usable."""


class ConfigurationError(SprachbundError):
    """A study file asks for something that does not exist or contradicts itself."""


class ModelError(SprachbundError):
    """A model or tokenizer cannot be loaded, or does not fit the data."""


class RunError(SprachbundError):
    """A fine-tuning run is broken, incomplete, or does not record what is needed."""


class GradientError(SprachbundError):
    """Per-example gradients or influence scores would be wrong."""


class InfluenceError(SprachbundError):
    """A stored influence result is damaged, or asked for what it does not hold."""


class StudyError(SprachbundError):
    """A stage cannot run: an earlier one is missing, or its folder cannot be written."""


class SprachbundWarning(UserWarning):
    """Something the user may have meant, but should know of."""
