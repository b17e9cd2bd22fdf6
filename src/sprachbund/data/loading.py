"""From the `data:` section of a study to its corpus."""

from collections.abc import Sequence
from pathlib import Path

from sprachbund.data.assembly import assemble
from sprachbund.data.config import DataConfig, SplitConfig
from sprachbund.data.corpus import Corpus
from sprachbund.data.files import read_records
from sprachbund.data.hub import read_hub_records
from sprachbund.data.languages import normalise
from sprachbund.data.patterns import choose, files_by_language, has_language
from sprachbund.data.presets import PRESETS, Preset
from sprachbund.data.records import Record, keep_where, rename
from sprachbund.data.validation import SPLITS
from sprachbund.errors import DataError


def load_corpus(config: DataConfig, languages: Sequence[str], base: Path) -> Corpus:
    """Read the rows of both splits in the languages asked for; relative paths start at `base`.

    What a task preset leaves out, and test rows that copy training rows, are said in a SprachbundWarning.

    Raises: DataError naming file, row and field; or the languages that are absent and those present.
    """
    wanted = list(dict.fromkeys(normalise(tag) for tag in languages))
    if not wanted:
        raise DataError("no languages asked for; name at least one to train and to test on")
    if config.embedded:
        from sprachbund.embedded.emoji import emoji_corpus

        return emoji_corpus(wanted)
    preset = PRESETS.get(config.preset_name)
    splits = {split: _records(config, split, preset, wanted, base) for split in SPLITS}
    return assemble(
        splits,
        languages=wanted,
        name=_name(config, preset),
        labels=config.labels,
        preset=preset,
        one_source_per_language=_per_language(config, preset),
    )


def _records(
    config: DataConfig, split: str, preset: Preset | None, languages: Sequence[str], base: Path
) -> list[Record]:
    part = (config.train if split == "train" else config.test) or SplitConfig()
    if config.is_hub:
        read = read_hub_records(
            _hub_source(config, preset, base),
            part.split or split,
            subset=config.subset or ("{language}" if preset else ""),
            revision=config.revision,
            data_files=preset.data_files if preset else "",
            languages=languages,
        )
    else:
        read = _read_files(base / Path(part.path).expanduser(), languages)
    kept = keep_where(read, {**config.where, **part.where})
    return rename(kept, {**config.columns, **part.columns}, {**config.constants, **part.constants})


def _read_files(path: Path, languages: Sequence[str]) -> list[Record]:
    if not has_language(str(path)):
        return read_records(path)
    chosen = choose(files_by_language(path), languages, str(path))
    return [
        Record(record.origin, {**record.fields, "language": language})
        for language, file in chosen.items()
        for record in read_records(Path(file))
    ]


def _hub_source(config: DataConfig, preset: Preset | None, base: Path) -> str:
    """A folder where there is one of that name, else the hub's id."""
    source = config.hub or (preset.hub if preset else "")
    folder = base / Path(source).expanduser()
    return str(folder) if folder.is_dir() else source


def _per_language(config: DataConfig, preset: Preset | None) -> bool:
    if config.is_hub:
        return has_language(config.subset) or preset is not None
    return any(part is not None and has_language(part.path) for part in (config.train, config.test))


def _name(config: DataConfig, preset: Preset | None) -> str:
    if config.is_hub:
        return config.hub or (preset.hub if preset else "")
    paths = dict.fromkeys(part.path for part in (config.train, config.test) if part is not None)
    return config.task or " and ".join(paths)
