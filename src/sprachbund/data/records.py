"""Records: the rows of a source as they were read, before they are a corpus.

A record keeps its origin (file and line), so that every later complaint can say where to look.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from sprachbund.data.validation import Origin
from sprachbund.errors import DataError

Value = str | int | float | bool | None


@dataclass(frozen=True)
class Record:
    """One row of a source: where it was read, and its fields by name."""

    origin: Origin
    fields: dict[str, Any]


def keep_where(
    records: Sequence[Record], where: Mapping[str, Value | Sequence[Value]]
) -> list[Record]:
    """The records whose fields have the wanted values, compared as text (1 and "1" are the same).

    Raises: DataError if a field is missing, or nothing is left (it lists the values that occur).
    """
    kept = list(records)
    for field, wanted in where.items():
        values = {
            str(value) for value in (wanted if isinstance(wanted, list | tuple) else [wanted])
        }
        before, kept = (
            kept,
            [record for record in kept if str(_field(record, field, "where")) in values],
        )
        if before and not kept:
            found = sorted({str(record.fields[field]) for record in before})
            raise DataError(
                f"{before[0].origin.file}: no row where {field} is {' or '.join(sorted(values))}; "
                f"values found: {listed(found)}"
            )
    return kept


def rename(
    records: Iterable[Record], columns: Mapping[str, str], constants: Mapping[str, Value]
) -> list[Record]:
    """Give fields the corpus' names: `columns` maps our name to the source's column, `constants` our name to a value.

    A column that `columns` uses is no longer found under its own name.

    Raises: DataError if a record lacks a column that is mapped.
    """
    used = set(columns.values())
    renamed = []
    for record in records:
        fields = {name: value for name, value in record.fields.items() if name not in used}
        fields |= {
            ours: _field(record, theirs, f"columns: {ours}") for ours, theirs in columns.items()
        }
        renamed.append(Record(record.origin, fields | dict(constants)))
    return renamed


def _field(record: Record, name: str, asked_by: str) -> Any:
    if name in record.fields:
        return record.fields[name]
    raise missing(record, name, asked_by)


def missing(record: Record, name: str, asked_by: str = "") -> DataError:
    """The complaint that a record has no such field, with the fields that it has and the likeliest meant."""
    found = [str(field) for field in record.fields]
    near = get_close_matches(name, found, n=1)
    remedy = f'; did you mean "{near[0]}"?' if near else '; name the column under "columns"'
    asked = f" ({asked_by})" if asked_by else ""
    return DataError(f'{record.origin}: no field "{name}"{asked}; found {listed(found)}{remedy}')


def listed(names: Sequence[str], most: int = 20) -> str:
    """Names in a row, shortened when there are many."""
    shown = ", ".join(names[:most]) or "none"
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
