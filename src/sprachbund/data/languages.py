"""Language tags: one spelling for each language, with its script, family and text direction.

Tags are BCP-47. Spellings that data sets use (`eng_Latn`, `zho_Hans`, `arb_Arab`) become the shortest
tag that means the same (`en`, `zh`, `ar`), so that a language asked for finds its rows.
"""

import json
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache, lru_cache
from typing import Any, Literal

import langcodes
from langcodes.data_dicts import LIKELY_SUBTAGS
from langcodes.tag_parser import LanguageTagError

from sprachbund.data.families import family_of
from sprachbund.errors import DataError

Direction = Literal["ltr", "rtl"]

# Scripts that CLDR's scriptMetadata marks right-to-left, and their ISO 15924 variants (Aran, Syre, Syrj, Syrn).
_RTL = """
Adlm Arab Aran Armi Avst Chrs Cprt Elym Gara Hatr Hebr Hung Khar Lydi Mand Mani Mend Merc Mero Narb Nbat Nkoo
Orkh Ougr Palm Phli Phlp Phnx Prti Rohg Samr Sarb Sogd Sogo Syrc Syre Syrj Syrn Thaa Todr Yezi
"""
RIGHT_TO_LEFT_SCRIPTS = frozenset(_RTL.split())

# Collective and "no language" codes: valid BCP-47, useless as the language of a sentence.
_NO_LANGUAGE = frozenset({"und", "mul", "mis", "zxx", "root"})

# CLDR folds Twi into Akan, but corpora (FLORES-200, SIB-200) hold both, as different text.
_TWI = frozenset({"tw", "twi"})


@dataclass(frozen=True)
class Language:
    """What is known of a language; "" where it is not known.

    `script` is an ISO 15924 code and `family` a top-level genealogical family (see `families`).
    """

    tag: str
    name: str
    autonym: str
    script: str
    family: str
    direction: Direction


@lru_cache(maxsize=4096)
def normalise(tag: str) -> str:
    """The shortest BCP-47 tag for the same language, script and region: `eng_Latn` -> `en`.

    Subtags that CLDR finds likely anyway are left out (`zh-Hans-CN` -> `zh`, `zh-TW` -> `zh-Hant`, `en-US` -> `en`,
    but `en-GB`, `sr-Latn` stay), and the predominant member of a macrolanguage takes its name (`arb` -> `ar`).

    Raises: DataError if the tag is malformed or its subtags are not registered, with a suggestion.
    """
    try:
        parsed = langcodes.Language.get(tag, normalize=True)
    except (LanguageTagError, ValueError):
        raise DataError(_complaint(tag, "is not a BCP-47 tag")) from None
    if parsed.language is None or parsed.language in _NO_LANGUAGE:
        raise DataError(_complaint(tag, "names no language"))
    if not parsed.is_valid():
        raise DataError(_complaint(tag, "has a part that is not a registered code"))
    if langcodes.Language.get(tag, normalize=False).language in _TWI:
        return "tw" if parsed.script in (None, "Latn") else f"tw-{parsed.script}"
    if (parsed.language, parsed.script) == ("ko", "Hang"):
        # FLORES names the letters alone, CLDR the mixed script (Kore); modern Korean text is the same.
        parsed = parsed.update_dict({"script": "Kore"})
    return _without_likely_subtags(parsed.prefer_macrolanguage())


def _without_likely_subtags(parsed: Any) -> str:
    """CLDR "Remove Likely Subtags", script favoured over region, since scripts matter to a tokenizer."""
    if parsed.language not in LIKELY_SUBTAGS:  # langcodes would fill in what is likely of English
        return str(parsed.to_tag())
    full = parsed.maximize()
    for kept in ({}, {"script": full.script}, {"territory": full.territory}):
        candidate = langcodes.Language.make(language=parsed.language, **kept)
        if candidate.maximize().to_tag() == full.to_tag():
            return str(candidate.to_tag())
    return str(parsed.simplify_script().to_tag())


def describe(tag: str) -> Language:
    """Name, autonym, script, family and direction of a language.

    The script is the tag's own or the likeliest by CLDR; the direction follows from it.

    Raises: DataError if the tag is malformed.
    """
    tag = normalise(tag)
    parsed = langcodes.Language.get(tag)
    likely = parsed.maximize().script if parsed.language in LIKELY_SUBTAGS else ""
    script = parsed.script or likely or ("Latn" if tag == "tw" else "")
    return Language(
        tag=tag,
        name=parsed.display_name("en"),
        autonym=parsed.autonym(),
        script=script,
        family=family_of(parsed.language),
        direction="rtl" if script in RIGHT_TO_LEFT_SCRIPTS else "ltr",
    )


def quoted(text: str, most: int = 80) -> str:
    """A user's text within a message: in quotation marks, on one line, shortened when long."""
    shown = json.dumps(text if len(text) <= most else text[:most] + "…", ensure_ascii=False)
    return shown.encode(errors="backslashreplace").decode()


def _complaint(tag: str, problem: str) -> str:
    suggestion = _suggest(tag)
    remedy = (
        f'did you mean "{suggestion}"?'
        if suggestion
        else "write a tag such as en, zh-Hant or eng_Latn"
    )
    return f"language {quoted(tag)} {problem}; {remedy}"


def _suggest(tag: str) -> str:
    """A tag for what the user may have meant: surrounding blanks, or a language's English name."""
    stripped = tag.strip().strip("-_")
    if stripped and stripped != tag:
        try:
            return normalise(stripped)
        except DataError:
            pass
    by_name = _tags_by_english_name()
    near = get_close_matches(stripped.casefold(), by_name, n=1, cutoff=0.8)
    return by_name[near[0]] if near else ""


@cache
def _tags_by_english_name() -> dict[str, str]:
    """Names of the languages that CLDR describes, for suggestions only."""
    languages = {key for key in LIKELY_SUBTAGS if "-" not in key and key not in _NO_LANGUAGE}
    return {
        langcodes.Language.get(key).display_name("en").casefold(): key for key in sorted(languages)
    }
