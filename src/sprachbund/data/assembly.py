"""Assembly: the records of both splits become one corpus.

Here languages are normalised and chosen, task presets applied, ids and items made unambiguous, and leaks between the
splits found.
"""

import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from sprachbund.data.corpus import Corpus
from sprachbund.data.languages import normalise, quoted
from sprachbund.data.presets import Preset
from sprachbund.data.records import Record, listed, missing
from sprachbund.errors import DataError, SprachbundWarning

Splits = dict[str, list[Record]]


def assemble(
    splits: Mapping[str, Sequence[Record]],
    *,
    languages: Sequence[str],
    name: str,
    labels: Sequence[str] = (),
    preset: Preset | None = None,
    one_source_per_language: bool = False,
) -> Corpus:
    """One corpus of the records of "train" and "test" in the languages asked for (normalised tags).

    Raises: DataError naming file, row and field, or the languages that are absent.
    """
    known = {split: _with_languages(records) for split, records in splits.items()}
    ambiguous_ids = one_source_per_language or _ids_repeat(known.values())
    rows = _only(known, languages, name)
    if preset is not None:
        rows = {split: _prepared(preset, records) for split, records in rows.items()}
    _check_fields(rows)
    if ambiguous_ids:
        rows = _with_qualified_ids(rows)
        if preset is None:
            _advise_items(rows)
    rows = _with_unambiguous_items(rows)
    _warn_of_same_text(rows)
    classes = labels or (preset.labels if preset else _labels_of_training(rows))
    records = [(split, record) for split, records in rows.items() for record in records]
    return Corpus.from_rows(
        [{**record.fields, "split": split} for split, record in records],
        labels=classes,
        name=name,
        origins=[record.origin for _, record in records],
    )


def _with_languages(records: Iterable[Record]) -> list[Record]:
    named = []
    for record in records:
        if "language" not in record.fields:
            raise missing(record, "language")
        try:
            language = normalise(str(record.fields["language"]))
        except DataError as error:
            raise DataError(f"{record.origin}: {error}") from None
        named.append(Record(record.origin, {**record.fields, "language": language}))
    return named


def _only(splits: Splits, languages: Sequence[str], name: str) -> Splits:
    present = {record.fields["language"] for records in splits.values() for record in records}
    absent = [language for language in languages if language not in present]
    if absent:
        raise DataError(
            f"{name}: no rows in {', '.join(absent)}; languages present: {listed(sorted(present))}"
        )
    return {
        split: [record for record in records if record.fields["language"] in languages]
        for split, records in splits.items()
    }


def _prepared(preset: Preset, records: Sequence[Record]) -> list[Record]:
    rows, notes = preset.prepare(records)
    for note in notes:
        _warn(note)
    return rows


def _check_fields(splits: Splits) -> None:
    for records in splits.values():
        for record in records:
            for field in ("text", "label"):
                if field not in record.fields:
                    raise missing(record, field)


def _ids_repeat(splits: Iterable[Sequence[Record]]) -> bool:
    """Whether an id names rows of several splits or languages (translations of one item, or files numbered alike)."""
    places = defaultdict(set)
    for number, records in enumerate(splits):
        for record in records:
            if _has(record, "id"):
                places[str(record.fields["id"])].add((number, record.fields["language"]))
    return any(len(found) > 1 for found in places.values())


def _with_qualified_ids(splits: Splits) -> Splits:
    return {
        split: [
            _replaced(record, id=f"{split}-{record.fields['language']}-{record.fields['id']}")
            if _has(record, "id")
            else record
            for record in records
        ]
        for split, records in splits.items()
    }


def _advise_items(splits: Splits) -> None:
    rows = [record for records in splits.values() for record in records if _has(record, "id")]
    if rows and not any(_has(record, "item") for record in rows):
        _warn(
            f"{rows[0].origin.file}: ids repeat across languages or splits; if an id names the same content in "
            "every language, write `columns: {item: id}`, so that translations are known"
        )


def _with_unambiguous_items(splits: Splits) -> Splits:
    """Items named per split where the splits use the same names for different content (XNLI numbers both from 0).

    Raises: DataError if the same content is in both splits under one name.
    """
    train, test = (_texts_by_item(splits[split]) for split in ("train", "test"))
    clashing = [item for item in test if item in train]
    if not clashing:
        return splits
    for item in clashing:
        for language, record in test[item].items():
            other = train[item].get(language)
            if other is not None and _content(record) == _content(other):
                raise DataError(
                    f"{record.origin}: item {quoted(item)} is a test item and a training item too ({other.origin}); "
                    "a test item must not be trained on in any language: take it out of one split"
                )
    if not any(train[item].keys() & test[item].keys() for item in clashing):
        item = clashing[0]
        raise DataError(
            f"{next(iter(test[item].values())).origin}: item {quoted(item)} is in both splits "
            f"({next(iter(train[item].values())).origin}) in different languages; if it is the same content, take "
            "it out of one split, else give it different names"
        )
    return {
        split: [
            _replaced(
                record,
                **{
                    field: f"{split}-{record.fields[field]}"
                    for field in ("item", "group")
                    if _has(record, field)
                },
            )
            for record in records
        ]
        for split, records in splits.items()
    }


def _texts_by_item(records: Sequence[Record]) -> dict[str, dict[str, Record]]:
    found: defaultdict[str, dict[str, Record]] = defaultdict(dict)
    for record in records:
        if _has(record, "item"):
            found[str(record.fields["item"])][record.fields["language"]] = record
    return found


def _warn_of_same_text(splits: Splits) -> None:
    trained = {_content(record) for record in splits["train"]}
    copies = [record for record in splits["test"] if _content(record) in trained]
    if copies:
        by_language = Counter(record.fields["language"] for record in copies)
        numbers = ", ".join(f"{language} {number}" for language, number in by_language.items())
        _warn(
            f"{copies[0].origin}: {len(copies)} test rows have the same text as a training row ({numbers}; this is the "
            "first); their copies will be their first proponents"
        )


def _labels_of_training(splits: Splits) -> list[str]:
    """Labels of the training rows, sorted (numbers as numbers).

    Raises: DataError for the first test row with another label.
    """
    trained = {str(record.fields["label"]) for record in splits["train"] if _has(record, "label")}
    for record in splits["test"]:
        label = str(record.fields["label"])
        if _has(record, "label") and label not in trained:
            raise DataError(
                f"{record.origin}: label {quoted(label)} does not occur among the training rows "
                f"({listed(sorted(trained))}); remove the row or correct its label"
            )
    numeric = all(label.isdecimal() for label in trained)
    return sorted(trained, key=int) if numeric else sorted(trained)


def _content(record: Record) -> tuple[str, str, str]:
    fields = record.fields
    return fields["language"], str(fields["text"]), str(fields.get("text_pair") or "")


def _has(record: Record, field: str) -> bool:
    return record.fields.get(field) not in (None, "")


def _replaced(record: Record, **fields: str) -> Record:
    return Record(record.origin, {**record.fields, **fields})


def _warn(message: str) -> None:
    warnings.warn(message, SprachbundWarning, stacklevel=2)
