"""Who is told how a study gets on."""

from typing import Protocol


class Observer(Protocol):
    """Who watches a study: the terminal, a test, or nobody."""

    def stage(self, name: str, *, fresh: bool) -> None:
        """A stage begins, or is skipped because it is fresh."""

    def progress(self, task: str, done: int, total: int, note: str = "") -> None:
        """A task within the stage has come so far."""

    def say(self, text: str) -> None:
        """Something worth knowing about the stage."""


class Silent:
    """Nobody watches."""

    def stage(self, name: str, *, fresh: bool) -> None:
        """Nobody listens."""

    def progress(self, task: str, done: int, total: int, note: str = "") -> None:
        """Nobody listens."""

    def say(self, text: str) -> None:
        """Nobody listens."""
