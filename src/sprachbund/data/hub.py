"""Data sets read through `datasets`: on the Hugging Face hub, in a local folder, or saved by `save_to_disk`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sprachbund.data.patterns import by_language, choose, has_language
from sprachbund.data.records import Record, listed
from sprachbund.data.validation import Origin
from sprachbund.errors import DataError


def read_hub_records(
    source: str,
    split: str,
    *,
    subset: str = "",
    revision: str = "",
    data_files: str = "",
    languages: Sequence[str] = (),
) -> list[Record]:
    """All rows of one split of a data set; class labels as their names.

    `source` is a hub id or a folder. `subset` names one configuration, or with `{language}` one per language; rows
    then have the field `language`. `data_files` likewise names the JSONL file of a language and split within a hub
    repository.

    Raises: DataError if the data set, subset or split cannot be had, also for want of a network.
    """
    if data_files and not Path(source).is_dir():
        return [
            record
            for language in languages
            for record in _read_file(
                source, data_files.format(language=language, split=split), revision, split, language
            )
        ]
    if not has_language(subset):
        return _read(source, subset, split, revision)
    subsets = choose(
        by_language(subset, _subset_names(source, revision)),
        languages,
        f"{source}, subset {subset}",
    )
    return [
        Record(record.origin, {**record.fields, "language": language})
        for language, name in subsets.items()
        for record in _read(source, name, split, revision)
    ]


def is_saved_to_disk(folder: Path) -> bool:
    """Whether `datasets` wrote the folder with `save_to_disk`."""
    return any((folder / name).is_file() for name in ("dataset_dict.json", "dataset_info.json"))


def _subset_names(source: str, revision: str) -> list[str]:
    folder = Path(source)
    if folder.is_dir():
        saved = [entry.name for entry in folder.iterdir() if is_saved_to_disk(entry)]
        if saved:
            return saved
    import datasets

    names = _tried(
        source, lambda: datasets.get_dataset_config_names(source, revision=revision or None)
    )
    return [str(name) for name in names]


def _read(source: str, subset: str, split: str, revision: str) -> list[Record]:
    import datasets

    folder = Path(source) / subset
    if is_saved_to_disk(folder):
        loaded = _tried(str(folder), lambda: datasets.load_from_disk(str(folder)))
        if isinstance(loaded, datasets.Dataset):
            raise DataError(
                f"{folder}: holds one table without splits, expected a DatasetDict with {split}"
            )
    else:
        loaded = _tried(
            source, lambda: datasets.load_dataset(source, subset or None, revision=revision or None)
        )
    return _records(f"{source}{f' ({subset})' if subset else ''}", loaded, split)


def _read_file(source: str, name: str, revision: str, split: str, language: str) -> list[Record]:
    """One JSONL file of a hub repository, past its loading script, which `datasets` no longer runs."""
    import datasets

    at = f"@{revision}" if revision else ""
    url = f"hf://datasets/{source}{at}/{name}"
    loaded = _tried(source, lambda: datasets.load_dataset("json", data_files={split: url}))
    return [
        Record(record.origin, {**record.fields, "language": language})
        for record in _records(f"{source}/{name}", loaded, split)
    ]


def _records(name: str, loaded: Any, split: str) -> list[Record]:
    import datasets

    if split not in loaded:
        raise DataError(f'{name}: no split "{split}"; splits present: {listed(sorted(loaded))}')
    table = loaded[split]
    class_names = {
        column: feature.names
        for column, feature in table.features.items()
        if isinstance(feature, datasets.ClassLabel)
    }
    file = f"{name}, split {split}"
    return [
        Record(Origin(file, number), _with_names(row, class_names))
        for number, row in enumerate(table, start=1)
    ]


def _with_names(row: dict[str, Any], class_names: dict[str, list[str]]) -> dict[str, Any]:
    """-1 is how `datasets` marks a missing class label."""
    named = {
        column: names[row[column]] if row[column] not in (None, -1) else None
        for column, names in class_names.items()
    }
    return row | named


def _tried(source: str, load: Any) -> Any:
    """What `load` returns; whatever goes wrong in `datasets`, the hub or the network as one line."""
    try:
        return load()
    except Exception as error:
        lines = str(error).strip().splitlines()
        reason = f"{type(error).__name__}: {lines[0] if lines else 'no message'}"
        if Path(source).is_dir():
            remedy = "expected files that `datasets` reads, or what `save_to_disk` wrote"
        else:
            remedy = (
                "check the name and the network; without one, give a local folder under `hub`, or files "
                "under `train` and `test`"
            )
        raise DataError(f"data set {source}: cannot be loaded ({reason}); {remedy}") from error
