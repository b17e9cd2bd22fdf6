"""What a long computation tells whoever called it: how far it has come, and once what it covers."""

from collections.abc import Callable

Progress = Callable[[int, int], None]
"""Called with what is done so far and how much there is: (checkpoint, training example) pairs, or as said."""

Notice = Callable[[str], None]
"""Called once, with how many of the parameters are covered."""


class Watch:
    """How far a computation of `total` steps has come, told to `on_progress`; what is said first, to `on_notice`."""

    def __init__(self, total: int, on_progress: Progress | None, on_notice: Notice | None) -> None:
        self.done = 0
        self._total, self._on_progress, self._on_notice = total, on_progress, on_notice

    def add(self, steps: int) -> None:
        """So many more are done, or were done before."""
        self.reach(self.done + steps)

    def reach(self, done: int) -> None:
        """So many are done in all."""
        self.done = done
        if self._on_progress is not None:
            self._on_progress(done, self._total)

    def say(self, text: str) -> None:
        """Pass it on, the first time; every checkpoint of a run would say the same."""
        if self._on_notice is not None:
            self._on_notice(text)
            self._on_notice = None
