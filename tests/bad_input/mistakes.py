"""A mistake and what must be said of it; the same promises are checked for each."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from command_line import SKIPPED, Outcome, TinyStudy, run_study, sprachbund

RUN = ("run", "study.yaml", "--output", "out")
RUN_ELSEWHERE = ("run", "study.yaml", "--output", "elsewhere")
JARGON = ("Traceback", "Errno", "Input should be", "pydantic", "<class", "object at 0x", "None")


@dataclass(frozen=True)
class Mistake:
    """How to make it, the command that meets it, and the parts of the message in their order."""

    name: str
    make: Callable[[TinyStudy], object]
    says: tuple[str, ...]
    command: tuple[str, ...] = RUN


def each(mistakes: list[Mistake]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("mistake", mistakes, ids=lambda mistake: mistake.name)


def check_message(outcome: Outcome, says: tuple[str, ...]) -> None:
    """Status 2 and one clear line, with these parts in this order."""
    assert outcome.status == 2, outcome.stdout + outcome.stderr
    assert len(outcome.errors) == 1, outcome.stderr
    (line,) = outcome.errors
    assert line.startswith("error: ")
    assert len(line) < 330, f"too long to be read: {line}"
    assert not [word for word in JARGON if word in line], line
    position = 0
    for part in says:
        assert part in line[position:], f"{part!r} is not (in this order) in: {line}"
        position = line.index(part, position) + len(part)


def check(study: TinyStudy, mistake: Mistake) -> None:
    """The mistake is told in one line, loses nothing, and once mended the study goes on where it was."""
    before = study.computed()
    mistake.make(study)
    check_message(sprachbund(*mistake.command), mistake.says)
    assert before.items() <= study.computed().items(), "something that was computed is lost"
    study.mend()
    outcome = run_study()
    assert outcome.status == 0, outcome.stderr
    assert outcome.stdout.count(SKIPPED) == 5, "something was computed again after mending"
