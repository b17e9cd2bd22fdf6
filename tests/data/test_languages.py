"""Language tags: one spelling each, and what is known of the language behind it."""

import gzip
import json
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sprachbund.data import describe, normalise
from sprachbund.data.languages import RIGHT_TO_LEFT_SCRIPTS
from sprachbund.errors import DataError

SPELLINGS = {
    "en": "en EN eng eng_Latn en-Latn en_US",
    "en-GB": "en_gb en-UK",
    "zh": "zh zho_Hans zh-CN zh-Hans cmn zh_Hans_CN",
    "zh-Hant": "zho_Hant zh-TW",
    "ar": "ar arb_Arab",
    "arz": "arz_Arab",
    "fa": "pes_Arab fas",
    "sw": "swh_Latn",
    "ko": "kor_Hang ko-Kore ko_KR",
    "ja": "jpn_Jpan",
    "sr": "srp_Cyrl",
    "sr-Latn": "sr_Latn sh",
    "pt": "por_Latn pt-BR",
    "pt-PT": "pt_PT",
    "de": "deu ger de_DE",
    "he": "iw heb_Hebr",
    "ace-Arab": "ace_Arab",
    "tw": "twi_Latn tw",
    "ak": "aka_Latn",
}


@pytest.mark.parametrize(
    ("tag", "spelling"), [(tag, s) for tag, all_ in SPELLINGS.items() for s in all_.split()]
)
def test_spellings_that_data_sets_use_find_one_tag(tag: str, spelling: str) -> None:
    assert normalise(spelling) == tag


@given(st.sampled_from([s for all_ in SPELLINGS.values() for s in all_.split()]))
def test_a_normalised_tag_stays_as_it_is(spelling: str) -> None:
    assert normalise(normalise(spelling)) == normalise(spelling)


@pytest.mark.parametrize(
    ("tag", "suggestion"),
    [
        ("english", '"en"'),
        ("German", '"de"'),
        ("en-", '"en"'),
        (" fr", '"fr"'),
        *((tag, "such as") for tag in ("xx", "", "mul", "und", "de-Latin", "e n", "..")),
    ],
)
def test_a_malformed_tag_is_refused_with_a_suggestion(tag: str, suggestion: str) -> None:
    with pytest.raises(DataError) as caught:
        normalise(tag)
    assert f'language "{tag}"' in str(caught.value)
    assert suggestion in str(caught.value)


@given(st.text(max_size=12))
def test_any_text_is_either_a_tag_or_a_data_error(text: str) -> None:
    try:
        tag = normalise(text)
    except DataError as error:
        message = str(error)
        assert "\n" not in message
    else:
        assert normalise(tag) == tag


@pytest.mark.parametrize(
    ("tag", "name", "autonym", "script", "family", "direction"),
    [
        ("en", "English", "English", "Latn", "Indo-European", "ltr"),
        ("arb_Arab", "Arabic", "العربية", "Arab", "Afro-Asiatic", "rtl"),
        ("ar-Latn", "Arabic (Latin)", None, "Latn", "Afro-Asiatic", "ltr"),
        ("fa", "Persian", "فارسی", "Arab", "Indo-European", "rtl"),
        ("he", "Hebrew", "עברית", "Hebr", "Afro-Asiatic", "rtl"),
        ("zh-TW", "Chinese (Traditional)", None, "Hant", "Sino-Tibetan", "ltr"),
        ("sw", "Swahili", "Kiswahili", "Latn", "Atlantic-Congo", "ltr"),
        ("twi_Latn", "Twi", None, "Latn", "Atlantic-Congo", "ltr"),
        ("nqo", "N’Ko", None, "Nkoo", "Mande", "rtl"),
        ("tlh", "Klingon", None, "", "", "ltr"),
    ],
)
def test_a_language_is_described(tag, name, autonym, script, family, direction) -> None:
    language = describe(tag)
    assert (language.name, language.script, language.family) == (name, script, family)
    assert language.direction == direction
    assert autonym is None or language.autonym == autonym


@pytest.mark.parametrize(
    ("letter", "script"),
    [("ا", "Arab"), ("א", "Hebr"), ("ܐ", "Syrc"), ("ހ", "Thaa"), ("ߊ", "Nkoo")],
)
def test_scripts_called_right_to_left_are_so_in_unicode(letter: str, script: str) -> None:
    assert unicodedata.bidirectional(letter) in {"R", "AL"}
    assert script in RIGHT_TO_LEFT_SCRIPTS


def test_families_agree_with_uriel_and_no_two_benchmark_codes_fall_together(
    shared_data: Path,
) -> None:
    with gzip.open(shared_data / "lang" / "uriel_subset.json.gz") as file:
        uriel = json.load(file)
    codes = [
        code.removeprefix("sib:") for code in uriel["corpus_code_to_iso"] if code.startswith("sib:")
    ]
    assert len({normalise(code) for code in codes}) == len(codes) == 205
    renamed = {"Artificial Language": "Artificial", "Aymara": "Aymaran"}
    for code in codes:
        known = uriel["languages"][uriel["corpus_code_to_iso"][f"sib:{code}"]]["family"]
        if known:
            top = known[0].removeprefix("F_")
            assert describe(code).family == renamed.get(top, top), code
        else:
            assert describe(code).family, (
                f"{code} is a language of a common benchmark, so its family should be listed"
            )
