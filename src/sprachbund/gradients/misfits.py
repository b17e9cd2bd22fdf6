"""Modules that a rule cannot be applied to after all."""

MISFITS = (RuntimeError, ValueError, TypeError, IndexError)
"""What running a module again on other arguments than its caller's may raise."""


class UnsuitedError(Exception):
    """This module cannot be run again on the examples of one call; autograd must take the whole model."""
