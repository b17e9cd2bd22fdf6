"""Task presets: XNLI, PAWS-X and MARC rows, as published, turned into corpus rows.

Each preset knows where its data is on the hub, what its fields are called, and what is known to be wrong in them.
What a preset leaves out, it says in a note.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sprachbund.data.languages import quoted
from sprachbund.data.records import Record, listed, missing
from sprachbund.errors import DataError


@dataclass(frozen=True)
class Preset:
    """A published task: its place on the hub and the function that turns its rows into corpus rows.

    `prepare` takes all records of one split and returns corpus records and notes on what was left out.
    `data_files` is the path of a split's file within the hub repository, where `datasets` cannot resolve it itself.
    """

    hub: str
    labels: tuple[str, ...]
    fields: tuple[str, ...]
    prepare: Callable[[Sequence[Record]], tuple[list[Record], list[str]]]
    data_files: str = ""


def _prepare_xnli(records: Sequence[Record]) -> tuple[list[Record], list[str]]:
    """premise, hypothesis, label (a number or its name), and `id` if there is one: the same item in every language.

    The hub's rows have no id, but stand in the same order in every language. Each premise occurs three times, with
    three hypotheses; `group` names the items of one premise, so that they are resampled together.
    """
    items = _items_by_id_or_place(records)
    groups = _groups_by_shared_text(items, records, "premise")
    rows = [
        _row(
            record,
            item=item,
            group=groups[item],
            text=_get(record, "premise"),
            text_pair=_get(record, "hypothesis"),
            label=_named_label(record, XNLI_LABELS),
        )
        for item, record in zip(items, records, strict=True)
    ]
    _check_aligned(rows)
    return rows, []


def _prepare_binary_xnli(records: Sequence[Record]) -> tuple[list[Record], list[str]]:
    """XNLI as entailment or not."""
    rows, notes = _prepare_xnli(records)
    for row in rows:
        if row.fields["label"] != "entailment":
            row.fields["label"] = "not_entailment"
    return rows, notes


def _prepare_paws_x(records: Sequence[Record]) -> tuple[list[Record], list[str]]:
    """id, sentence1, sentence2, label 0 (different) or 1 (paraphrase).

    Rows that the translators left out hold "NS" (also "ns", "WL") or nothing in place of a sentence. Such an item
    leaves in all languages, so that every language has the same items.
    """
    left_out = {
        str(_get(record, "id"))
        for record in records
        if any(_is_untranslated(_get(record, field)) for field in ("sentence1", "sentence2"))
    }
    rows = [
        _row(
            record,
            item=str(_get(record, "id")),
            text=_get(record, "sentence1"),
            text_pair=_get(record, "sentence2"),
            label=_named_label(record, PAWS_X_LABELS),
        )
        for record in records
        if str(_get(record, "id")) not in left_out
    ]
    if not left_out:
        return rows, []
    dropped = len(records) - len(rows)
    names = listed(sorted(left_out, key=lambda item: (len(item), item)), most=8)
    return rows, [
        f"paws-x: {len(left_out)} item(s), {dropped} rows, left out in all languages, since a sentence is not "
        f'translated (blank or "NS") in one of them: {names}'
    ]


def _prepare_marc(records: Sequence[Record]) -> tuple[list[Record], list[str]]:
    """`stars` 1 to 5, or `label` 0 to 4 (mteb's stars less one): 1-2 negative, 4-5 positive, 3 left out.

    The text is `text`, or `review_title` and `review_body`. Reviews are not translations: rows have no item.
    """
    rows = []
    for record in records:
        stars = _stars(record)
        if stars != 3:
            label = "negative" if stars < 3 else "positive"
            rows.append(_row(record, id=record.fields.get("id"), text=_review(record), label=label))
    neutral = len(records) - len(rows)
    return rows, [
        f"marc: {neutral} of {len(records)} rows left out, reviews of three stars"
    ] if neutral else []


def _stars(record: Record) -> int:
    field, offset = ("stars", 0) if "stars" in record.fields else ("label", 1)
    try:
        stars = int(str(_get(record, field))) + offset
    except ValueError:
        stars = 0
    if not 1 <= stars <= 5:
        expected = "1 to 5" if field == "stars" else "0 to 4 (stars less one)"
        raise DataError(
            f"{record.origin}: {field} is {record.fields[field]!r}, expected {expected}"
        )
    return stars


def _review(record: Record) -> Any:
    if "review_body" not in record.fields:
        return _get(record, "text")
    title, body = record.fields.get("review_title") or "", record.fields["review_body"] or ""
    return f"{title}\n\n{body}" if title and body else title or body


def _items_by_id_or_place(records: Sequence[Record]) -> list[str]:
    """The id, or where there is none the row's place in its file, if all languages have the same number of rows."""
    if any("id" in record.fields for record in records):
        return [str(_get(record, "id")) for record in records]
    places: dict[str, list[int]] = {}
    for record in records:
        places.setdefault(record.fields["language"], []).append(record.origin.row)
    counts = {language: len(rows) for language, rows in places.items()}
    if len({tuple(rows) for rows in places.values()}) > 1:
        raise DataError(
            f"{records[0].origin.file}: rows have no id, and languages differ in their number of rows "
            f"({', '.join(f'{language} {count}' for language, count in counts.items())}), so that translations "
            "cannot be matched; add an id that is the same in every language"
        )
    return [str(record.origin.row - 1) for record in records]


def _check_aligned(rows: Sequence[Record]) -> None:
    """Translations have one label; where they differ, rows are out of step."""
    first: dict[str, Record] = {}
    for row in rows:
        other = first.setdefault(row.fields["item"], row)
        if other.fields["label"] != row.fields["label"]:
            raise DataError(
                f'{row.origin}: item "{row.fields["item"]}" has label {row.fields["label"]}, but '
                f"{other.fields['label']} in {other.origin}; rows of the same id are not translations of each other"
            )


def _groups_by_shared_text(
    items: Sequence[str], records: Sequence[Record], field: str
) -> dict[str, str]:
    """Each item's group: the items whose `field` is the same text in any language, named by the first of them."""
    parent = {item: item for item in items}

    def root(item: str) -> str:
        while parent[item] != item:
            parent[item] = item = parent[parent[item]]
        return item

    seen: dict[tuple[str, str], str] = {}
    for item, record in zip(items, records, strict=True):
        other = seen.setdefault((record.fields["language"], str(_get(record, field))), item)
        first, second = sorted((root(item), root(other)), key=lambda name: (len(name), name))
        parent[second] = first
    return {item: f"{field}-{root(item)}" for item in parent}


def _named_label(record: Record, names: Sequence[str]) -> str:
    """A label by number (its class index) or by name."""
    value = str(_get(record, "label")).strip()
    if value in names:
        return value
    if value.isdecimal() and int(value) < len(names):
        return names[int(value)]
    numbers = ", ".join(f"{number} ({name})" for number, name in enumerate(names))
    raise DataError(f"{record.origin}: label {quoted(value)} is not one of {numbers}")


def _is_untranslated(text: Any) -> bool:
    return text is None or str(text).strip().casefold() in {"", "ns", "wl"}


def _get(record: Record, field: str) -> Any:
    if field not in record.fields:
        raise missing(record, field)
    return record.fields[field]


def _row(record: Record, **fields: Any) -> Record:
    return Record(record.origin, {"language": record.fields["language"], **fields})


XNLI_LABELS = ("entailment", "neutral", "contradiction")
PAWS_X_LABELS = ("different", "paraphrase")
_XNLI_FIELDS = ("id", "premise", "hypothesis", "label", "language")

PRESETS: Mapping[str, Preset] = {
    "xnli": Preset("facebook/xnli", XNLI_LABELS, _XNLI_FIELDS, _prepare_xnli),
    "xnli-binary": Preset(
        "facebook/xnli", ("entailment", "not_entailment"), _XNLI_FIELDS, _prepare_binary_xnli
    ),
    "paws-x": Preset(
        "google-research-datasets/paws-x",
        PAWS_X_LABELS,
        ("id", "sentence1", "sentence2", "label", "language"),
        _prepare_paws_x,
    ),
    "marc": Preset(
        "mteb/amazon_reviews_multi",
        ("negative", "positive"),
        ("id", "text", "label", "stars", "review_title", "review_body", "language"),
        _prepare_marc,
        data_files="{language}/{split}.jsonl",
    ),
}
