"""Distances between languages: tables of the user's, URIEL, and scripts."""

import sys
import types
from pathlib import Path

import numpy as np
import pytest

from sprachbund.data.distances import (
    Features,
    feature_distances,
    lang2vec_distances,
    read_distances,
    script_distances,
)
from sprachbund.errors import DataError

FEATURES = {
    "de": Features([1, 0, 1], frozenset({"Indo-European", "Germanic"}), [0.1, 0.5]),
    "en": Features([1, 1, 0], frozenset({"Indo-European", "Germanic"}), [0.15, 0.45]),
    "ko": Features([0, 1, 0], frozenset({"Koreanic"}), [0.5, 0.2]),
}


def at(distances, kind: str, one: str, other: str) -> float:
    return float(distances[kind].sel(language=one, other_language=other))


def test_features_become_distances_by_their_formulas() -> None:
    found = feature_distances(FEATURES)
    assert at(found, "typological", "de", "en") == pytest.approx(1 - 1 / 2)
    assert at(found, "typological", "de", "ko") == 1
    assert at(found, "genetic", "de", "en") == pytest.approx(0)
    assert at(found, "genetic", "de", "ko") == 1
    assert at(found, "geographic", "de", "ko") == pytest.approx(0.4)
    for kind in found.data_vars:
        np.testing.assert_array_equal(found[kind], found[kind].values.T)
        np.testing.assert_array_equal(np.diag(found[kind]), 0)


def test_uriel_features_of_real_languages_are_read(shared_data: Path) -> None:
    path = shared_data / "lang" / "uriel_subset.json.gz"
    found = read_distances(path, ["en", "de", "ru", "zh", "sw", "nosuch"])
    assert found["language"].values.tolist() == ["en", "de", "ru", "zh", "sw"]
    assert at(found, "genetic", "en", "de") < at(found, "genetic", "en", "ru") < 1
    assert at(found, "genetic", "en", "zh") == 1
    assert at(found, "typological", "en", "de") < at(found, "typological", "en", "zh")
    half_way_round = 20_015  # km
    assert 300 < half_way_round * at(found, "geographic", "en", "de") < 1300
    assert 6500 < half_way_round * at(found, "geographic", "de", "zh") < 8500


def test_a_language_that_the_file_maps_by_no_tag_of_ours_is_found_by_its_iso_code(
    shared_data: Path,
) -> None:
    found = read_distances(shared_data / "lang" / "uriel_subset.json.gz", ["uk", "ru", "sw", "en"])
    assert found["language"].values.tolist() == ["uk", "ru", "sw", "en"]
    genetic = found["genetic"].sel(language="uk")
    assert float(genetic.sel(other_language="ru")) < float(genetic.sel(other_language="en"))
    assert float(genetic.sel(other_language="sw")) == 1


def test_a_table_of_distances_is_read_in_any_spelling_and_order(tmp_path: Path) -> None:
    path = tmp_path / "distances.csv"
    path.write_text(
        "language,other_language,syntax,area\neng_Latn,de,0.5,1\nko,en,0.75,\nde,en,0.5,1\n"
    )
    found = read_distances(path, ["en", "de", "ko", "fr"])
    assert found["language"].values.tolist() == ["en", "de", "ko"]
    assert at(found, "syntax", "de", "en") == 0.5
    assert at(found, "syntax", "en", "ko") == 0.75
    assert np.isnan(at(found, "area", "en", "ko")), "an empty field is not known"
    assert np.isnan(at(found, "syntax", "de", "ko")), "a pair that is not given is not known"
    assert at(found, "syntax", "ko", "ko") == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("language,syntax\nen,1\n", "expected language, other_language and one"),
        ("language,other_language,s\nen,de,far\n", "row 2: the s distance of en and de is far"),
        ("language,other_language,s\nen,de,1\nde,en,2\n", "row 3: .* the same in both orders"),
    ],
)
def test_a_wrong_table_is_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "distances.csv"
    path.write_text(content)
    with pytest.raises(DataError, match=message):
        read_distances(path, ["en", "de"])


def test_a_file_that_is_not_there_or_not_uriel_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read as distances"):
        read_distances(tmp_path / "none.json", ["en"])
    (tmp_path / "a.json").write_text('{"languages": {}}')
    with pytest.raises(DataError, match="does not hold URIEL features"):
        read_distances(tmp_path / "a.json", ["en"])


def test_lang2vec_is_asked_for_the_predominant_member_of_a_macrolanguage(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By a stand-in with the interface of lang2vec 1.1.2."""
    vectors = {
        "deu": ([1.0, 0.0], [1.0, 0.0], [0.1]),
        "cmn": ([0.0, 1.0], [0.0, 1.0], [0.4]),
    }

    def get_features(codes: list[str], name: str, header: bool) -> dict[str, list]:
        assert header
        position = {"s": 0, "f": 1, "g": 2}[name[0]]
        names = {"CODE": ["F_Indo-European", "F_Sino-Tibetan"]}
        return names | {code: vectors[code][position] for code in codes}

    module = types.ModuleType("lang2vec.lang2vec")
    vars(module).update(get_features=get_features, available_uriel_languages=lambda: set(vectors))
    monkeypatch.setitem(sys.modules, "lang2vec", types.ModuleType("lang2vec"))
    monkeypatch.setitem(sys.modules, "lang2vec.lang2vec", module)
    found = lang2vec_distances(["de", "zh", "eo"])
    assert found["language"].values.tolist() == ["de", "zh"]
    assert at(found, "genetic", "de", "zh") == 1
    assert at(found, "geographic", "de", "zh") == pytest.approx(0.3)


def test_without_lang2vec_one_line_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lang2vec.lang2vec", None)
    with pytest.raises(DataError, match="pip install lang2vec"):
        lang2vec_distances(["de"])


def test_scripts_are_the_same_or_not() -> None:
    found = script_distances(["en", "de", "ru", "sr-Latn"])
    assert found.sel(language="en").values.tolist() == [0, 0, 1, 0]
    assert found.sel(language="ru").values.tolist() == [1, 1, 0, 1]
