"""Mistakes in the study file and on the command line."""

from mistakes import RUN, Mistake, check, each


def text(content: str | bytes):
    return lambda study: study.write("study.yaml", content)


def keys(**changed):
    return lambda study: study.set(**changed)


def nothing(study):
    """The mistake is in the command itself."""


def setting(override: str) -> dict:
    return {"make": nothing, "command": (*RUN, "--set", override)}


MISTAKES = [
    Mistake("a misspelt key", keys(modle="x"), ("study.yaml: modle", "did you mean model?")),
    Mistake(
        "a misspelt key in a section",
        keys(finetuning={"epoch": 3}),
        ("study.yaml: finetuning.epoch: no such key", "did you mean epochs?"),
    ),
    Mistake(
        "a misspelt key in data",
        keys(data={"tset": "test.jsonl"}),
        ("study.yaml: data.tset", "did you mean test?"),
    ),
    Mistake(
        "a misspelt key in data.train",
        keys(data={"train": {"path": "train.jsonl", "colums": {}}}),
        ("study.yaml: data.train.colums", "did you mean columns?"),
    ),
    Mistake(
        "an unknown key",
        keys(analysis={"top": 3}),
        (
            "study.yaml: analysis.top: no such key",
            "known keys: k, distances, compare_with, examples",
        ),
    ),
    Mistake(
        "a word for a number",
        keys(finetuning={"epochs": "three"}),
        ("study.yaml: finetuning.epochs", 'found "three"', "expected a whole number"),
    ),
    Mistake(
        "a fraction of an epoch",
        keys(finetuning={"epochs": 2.5}),
        ("finetuning.epochs", "found 2.5", "expected a whole number"),
    ),
    Mistake(
        "a negative number", keys(finetuning={"epochs": -1}), ("found -1", "expected at least 1")
    ),
    Mistake(
        "a learning rate of zero",
        keys(finetuning={"learning_rate": 0}),
        ("finetuning.learning_rate", "found 0", "expected more than 0"),
    ),
    Mistake(
        "no examples",
        keys(train_per_language=0),
        ("study.yaml: train_per_language", "found 0", "expected at least 1"),
    ),
    Mistake("a key without a value", keys(seed=None), ("study.yaml: seed", "found nothing")),
    Mistake(
        "one language where a list is meant",
        keys(languages={"train": "en"}),
        ("study.yaml: languages.train", 'found "en"', "expected a list"),
    ),
    Mistake(
        "an unknown method",
        keys(attribution={"method": "trakin"}),
        ("study.yaml: attribution.method", 'found "trakin"', "did you mean tracin?"),
    ),
    Mistake(
        "an unknown unit of memory",
        keys(attribution={"memory": "16GX"}),
        ("study.yaml: attribution.memory", "16GX", "16GiB"),
    ),
    Mistake(
        "less memory than one example takes for one parameter",
        keys(attribution={"memory": "1KB"}),
        ("1 KiB", "those of one test example for one parameter take", "raise attribution.memory"),
    ),
    Mistake(
        "a language listed twice",
        keys(languages={"train": ["en", "de", "eng_Latn"]}),
        ("study.yaml: languages.train", '"en" is listed twice'),
    ),
    Mistake(
        "an unknown language",
        keys(languages={"test": ["en", "qq"]}),
        ("study.yaml: languages.test", 'language "qq"', "not a registered code"),
    ),
    Mistake(
        "a language by its name",
        keys(languages={"test": ["German"]}),
        ('language "German"', 'did you mean "de"?'),
    ),
    Mistake(
        "a malformed language",
        keys(languages={"train": ["e_-"]}),
        ('language "e_-" is not a BCP-47 tag', "write a tag such as en"),
    ),
    Mistake(
        "counts without a language",
        keys(train_per_language={"en": 4}),
        ("study.yaml: train_per_language", '"de" has no count'),
    ),
    Mistake(
        "counts of another language",
        keys(train_per_language={"en": 4, "de": 4, "fr": 4}),
        ("train_per_language", '"fr" is no training language'),
    ),
    Mistake(
        "the same seed twice",
        keys(finetuning={"seeds": [0, 0]}),
        ("study.yaml: finetuning.seeds", "0 is listed twice"),
    ),
    Mistake(
        "a negative seed",
        keys(finetuning={"seeds": [-1]}),
        ("study.yaml: finetuning.seeds, entry 1", "found -1", "expected at least 0"),
    ),
    Mistake(
        "a variable that is not set",
        keys(model="${SPRACHBUND_NOT_SET}/model"),
        ("study.yaml", "SPRACHBUND_NOT_SET", "not set"),
    ),
    Mistake("YAML that ends too soon", text("model: [a"), ("study.yaml, line 1: not valid YAML",)),
    Mistake("a tab in YAML", text("model: a\n\tdata: b"), ("study.yaml, line 2", "a tab")),
    Mistake(
        "a variable in a YAML mapping, without quotation marks",
        text("data: {train: ${TEXTS}/train.jsonl}"),
        ("study.yaml, line 1", "into quotation marks"),
    ),
    Mistake("a key twice", text("seed: 1\nseed: 2"), ("line 2", 'the key "seed" stands twice')),
    Mistake("YAML that is a list", text("- model"), ("study.yaml: found a list", "expected keys")),
    Mistake("an empty study file", text(""), ("study.yaml: found nothing", "expected keys")),
    Mistake("a study file in Latin-1", text("model: übel".encode("latin-1")), ("not UTF-8",)),
    Mistake("a section that is text", keys(data="train.jsonl"), ("data", "expected keys, such as")),
    Mistake("no data", keys(data={"test": None}), ("study.yaml: data: test is missing",)),
    Mistake(
        "--set without =", **setting("analysis.k"), says=("--set analysis.k: expected key=value",)
    ),
    Mistake(
        "--set with an unknown key",
        **setting("finetuning.epoch=3"),
        says=("--set finetuning.epoch=3: no such key", "did you mean epochs?"),
    ),
    Mistake(
        "--set with a wrong value",
        **setting("analysis.k=many"),
        says=('--set analysis.k=many: found "many"', "expected a whole number"),
    ),
    Mistake(
        "a study file that does not exist",
        nothing,
        ("stuby.yaml: no such study file", "did you mean study.yaml?"),
        command=("run", "stuby.yaml"),
    ),
    Mistake(
        "a folder for a study file",
        nothing,
        ("model: a directory", "give the study file in it"),
        command=("run", "model"),
    ),
    Mistake(
        "an unknown command", nothing, ("'rum'", "Did you mean 'run'?"), command=("rum", "x.yaml")
    ),
    Mistake(
        "an unknown option",
        nothing,
        ("--outptu", "--output", "for help: sprachbund run --help"),
        command=("run", "study.yaml", "--outptu", "out"),
    ),
    Mistake("no study file named", nothing, ("STUDY.yaml", "--help"), command=("analyse",)),
]


@each(MISTAKES)
def test_a_mistake_in_the_study_is_told_in_one_line_and_loses_nothing(study, mistake):
    check(study, mistake)
