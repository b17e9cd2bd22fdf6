"""Top-level genealogical families of languages."""


def family_of(language: str) -> str:
    """The family of a language subtag (`sw` -> "Niger-Congo"); "" where the table does not know it."""
    return FAMILIES.get(language, "")


FAMILIES: dict[str, str] = {}
