"""The command line: parse, call, print."""

import contextlib
import os
import shlex
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console

from sprachbund import __version__
from sprachbund.errors import SprachbundError

if TYPE_CHECKING:
    from sprachbund.study import Study
    from sprachbund.study.observer import Observer

app = typer.Typer(
    name="sprachbund",
    help="Whose data does each language of a fine-tuned multilingual model rely on?\n\n"
    "A study fine-tunes one model on several languages together, finds the training examples that each test "
    "prediction rests on, and shows which languages they are from. Start with: sprachbund demo",
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
out = Console(highlight=False)
err = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)

# Newer versions of Typer carry a click of their own: the class is found through one that all of them export.
_CommandError: type[Exception] = typer.BadParameter.__mro__[2]
_INTERRUPTED = 130

StudyFile = Annotated[Path, typer.Argument(metavar="STUDY.yaml", help="The study file.")]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", help="Folder of the study; results/<name of the study file> by default."
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Change a key of the study file, such as analysis.k=50."
    ),
]


@app.command()
def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the study.")] = Path(
        "sprachbund-demo"
    ),
) -> None:
    """Run a small real study on data that the package carries: under three minutes, no network."""
    from sprachbund.demo import demo_study

    with _observer() as observer:
        study = demo_study(output, observer)
        study.run()
    _print_result(study)


@app.command()
def run(study_file: StudyFile, output: Output = None, set_: Overrides = None) -> None:
    """Do every stage of a study: sample, fine-tune, attribute, analyse, report. What is done already is skipped."""
    with _observer() as observer:
        study = _open(study_file, output, set_, observer)
        study.run()
    _print_result(study)


@app.command()
def finetune(study_file: StudyFile, output: Output = None, set_: Overrides = None) -> None:
    """Fine-tune the model on all training languages together, and measure accuracy by language."""
    _one_stage("finetune", study_file, output, set_)


@app.command()
def attribute(study_file: StudyFile, output: Output = None, set_: Overrides = None) -> None:
    """Score every training example for every test prediction, at every checkpoint of the fine-tuning."""
    _one_stage("attribute", study_file, output, set_)


@app.command()
def index(study_file: StudyFile, output: Output = None, set_: Overrides = None) -> None:
    """Compress the training examples' gradients, for questions about any number of new texts (sprachbund.Index)."""
    with _observer() as observer:
        study = _open(study_file, output, set_, observer)
        study.prepare()
        study.index()
    from sprachbund.index import Index

    for seed in study.config.seeds:
        built = Index.open(study.index_path(seed))
        out.print(
            f"Index: {built.path.resolve()}; cosines below {built.resolvable_cosine:.3f} cannot be told from zero",
            soft_wrap=True,
        )


@app.command()
def decompose(study_file: StudyFile, output: Output = None, set_: Overrides = None) -> None:
    """Take influence apart: which parts of the model it comes from, and what is left without each language's mean."""
    with _observer() as observer:
        study = _open(study_file, output, set_, observer)
        study.prepare()
        study.decompose()
    out.print(
        f"Decompositions: {study.folder / 'decomposition'}; `sprachbund analyse` makes tables of them",
        soft_wrap=True,
    )


@app.command()
def removal(study_file: StudyFile, output: Output = None, set_: Overrides = None) -> None:
    """Train again without the top proponents, and without as many others: do predictions suffer more?"""
    with _observer() as observer:
        study = _open(study_file, output, set_, observer)
        study.prepare()
        study.removal()
    from sprachbund.validation.printing import print_removal

    print_removal(out, study.folder / "removal")


@app.command()
def analyse(study_file: StudyFile, output: Output = None, set_: Overrides = None) -> None:
    """Write the tables: from which languages the examples come that each test language relies on."""
    study = _one_stage("analyse", study_file, output, set_, needs_results=True)
    _print_result(study)


@app.command()
def report(study_file: StudyFile, output: Output = None, set_: Overrides = None) -> None:
    """Write the page: what every analysis found, as sentences, charts and tables, and examples in full text."""
    study = _one_stage("report", study_file, output, set_, needs_results=True)
    out.print(f"Report: {study.report_path}")


@app.command()
def mix(study_file: StudyFile, output: Output = None, set_: Overrides = None) -> None:
    """Fine-tune on other mixes: more or less of a language, one left out, each alone, all pairs; compare accuracy."""
    from sprachbund.mixing.mixing import Mixing
    from sprachbund.mixing.printing import print_mixing

    with _observer() as observer:
        mixing = Mixing(_open(study_file, output, set_, observer))
        mixing.run()
    print_mixing(out, mixing.tables)


@app.command()
def plan(study_file: StudyFile, output: Output = None, set_: Overrides = None) -> None:
    """Say what `run` would do, how long it would take, and how much memory and disk; write nothing."""
    from sprachbund.planning import plan_study
    from sprachbund.terminal import print_plan

    study = _open(study_file, output, set_)
    print_plan(out, plan_study(study), study.folder)


def _version(value: bool) -> None:
    if value:
        out.print(f"sprachbund {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    del version  # its callback has printed it


@contextlib.contextmanager
def _observer() -> Iterator["Observer"]:
    from sprachbund.terminal import TerminalObserver

    with TerminalObserver(out) as observer:
        yield observer


def _open(
    study_file: Path,
    output: Path | None,
    overrides: list[str] | None,
    observer: "Observer | None" = None,
) -> "Study":
    from sprachbund.study import Study
    from sprachbund.study_file import read_study

    config = read_study(study_file, overrides or ())
    folder = output or Path("results") / study_file.stem
    return Study(config, folder, base=study_file.parent, observer=observer)


def _one_stage(
    name: str,
    study_file: Path,
    output: Path | None,
    overrides: list[str] | None,
    *,
    needs_results: bool = False,
) -> "Study":
    with _observer() as observer:
        study = _open(study_file, output, overrides, observer)
        if needs_results:
            study.influences()  # before a word is written: they must be of this study file
        study.prepare()
        study.stages[name]()
    return study


def _print_result(study: "Study") -> None:
    from sprachbund.terminal import print_sharing

    out.print()
    print_sharing(out, study.influences(), study.config.analysis.k)
    if study.is_fresh("report"):
        out.print(f"Report: {study.report_path.resolve()}", soft_wrap=True)
    elif study.report_path.exists():
        out.print(
            f"The page {study.report_path.resolve()} is from before this; `sprachbund report` writes it anew",
            soft_wrap=True,
        )


def main() -> None:
    """Run the command line. A mistake of the user's ends in one line and status 2, Ctrl-C in 130."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")  # without a network it tells of each retry
    try:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        if _run_command(sys.argv[1:]) == _INTERRUPTED:  # Typer turns Ctrl-C into this status
            _stopped()
    except _CommandError as error:
        _fail(_misuse(error))
    except SprachbundError as error:
        _fail(str(error))
    except OSError as error:
        _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except (KeyboardInterrupt, typer.Abort):
        _stopped()


def _run_command(arguments: list[str]) -> int | None:
    from sprachbund.terminal import warnings_on

    with warnings_on(err):
        status: int | None = app(
            arguments or ["--help"], prog_name="sprachbund", standalone_mode=False
        )
    return status


def _misuse(error: Any) -> str:
    """What click complains of, and where the help is."""
    command = error.ctx.command_path if getattr(error, "ctx", None) else "sprachbund"
    return f"{error.format_message().rstrip('.')}; for help: {command} --help"


def _fail(message: str) -> NoReturn:
    from sprachbund.terminal import one_line

    err.print(f"error: {one_line(message)}", markup=False, style="red")
    sys.exit(2)


def _stopped() -> NoReturn:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not break the way out
    command = shlex.join(["sprachbund", *sys.argv[1:]])
    err.print(f"Stopped; what is finished is kept. To go on: {command}", markup=False)
    sys.exit(_INTERRUPTED)
