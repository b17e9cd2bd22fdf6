"""Write the table `emoji, group, family, split` of the embedded corpus from Unicode's emoji-test.txt.

    python tools/make_emoji_groups.py EMOJI_TEST_TXT src/sprachbund/embedded/assets/emoji_groups.tsv

The file comes from https://www.unicode.org/Public/emoji/15.0/emoji-test.txt; Debian's package unicode-data carries it.
"""

import argparse
import hashlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

TEST_FRACTION = 0.38
LARGEST_TEST_FAMILY = 4
PEOPLE = "👨👩🧑👦👧🧒👶🤝❤💋\u200d"
VARIATION_SELECTOR = "\ufe0f"
KEYCAP = "\u20e3"
HEADER = """\
# Unicode groups of emoji, from emoji-test.txt, Emoji {version}. © 2022 Unicode, Inc. Unicode License V3
# (https://www.unicode.org/license.txt). Written by tools/make_emoji_groups.py; flags and skin tones left out.
"""


def read_emoji_test(path: Path) -> tuple[str, list[tuple[str, str]]]:
    """Return the version and (emoji, group) of the fully-qualified emoji and the components."""
    version, group, rows = "", "", []
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("# Version:"):
            version = line.split(":")[1].strip()
        elif line.startswith("# group:"):
            group = line.split(":", 1)[1].strip()
        elif ";" in line and not line.startswith("#"):
            codes, rest = line.split(";", 1)
            if rest.split("#")[0].strip() in {"fully-qualified", "component"}:
                rows.append(("".join(chr(int(code, 16)) for code in codes.split()), group))
    return version, rows


def has_skin_tone(emoji: str) -> bool:
    return any("\U0001f3fb" <= character <= "\U0001f3ff" for character in emoji)


def family(emoji: str) -> str:
    """What near-identical emoji share: men, women and persons; all families; clock faces; keycaps."""
    base = emoji.replace(VARIATION_SELECTOR, "").replace("\u200d♀", "").replace("\u200d♂", "")
    if len(base) > 1 and all(character in PEOPLE for character in base):
        return "👪"
    if base.endswith(KEYCAP):
        return KEYCAP
    if len(base) == 1 and "\U0001f550" <= base <= "\U0001f567":
        return "\U0001f550"
    return base.replace("👨", "🧑").replace("👩", "🧑")


def split(key: str, size: int) -> str:
    """Fixed by the family's name; a large family of like names says little on transfer: training."""
    share = int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big") / 2**32
    return "test" if share < TEST_FRACTION and size <= LARGEST_TEST_FAMILY else "train"


def table(rows: list[tuple[str, str]]) -> Iterator[str]:
    kept = [
        (emoji, group)
        for emoji, group in rows
        if group != "Flags" and (group == "Component" or not has_skin_tone(emoji))
    ]
    sizes = Counter(family(emoji) for emoji, _ in kept)
    yield "emoji\tgroup\tfamily\tsplit"
    for emoji, group in kept:
        key = family(emoji)
        yield f"{emoji}\t{group}\t{key}\t{split(key, sizes[key])}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("emoji_test", type=Path)
    parser.add_argument("output", type=Path)
    arguments = parser.parse_args()
    version, rows = read_emoji_test(arguments.emoji_test)
    text = HEADER.format(version=version) + "\n".join(table(rows)) + "\n"
    arguments.output.write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
