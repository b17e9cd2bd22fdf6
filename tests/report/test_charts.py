"""Charts hold every number, keep to their colours, and stay readable from 2 to 18 languages."""

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import altair as alt
import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from sprachbund.report import charts
from sprachbund.report.drawing import save_chart, to_svg
from sprachbund.report.languages import language_label

TAGS = [
    "en",
    "de",
    "fr",
    "ru",
    "es",
    "ko",
    "ar",
    "he",
    "fa",
    "ur",
    "zh",
    "ja",
    "tr",
    "sw",
    "hi",
    "bn",
    "vi",
    "th",
]


def shares(n_train: int, n_test: int, seed: int = 0) -> tuple[xr.DataArray, xr.DataArray]:
    values = np.random.default_rng(seed).dirichlet(np.ones(n_train), n_test) * 100
    share = xr.DataArray(
        values,
        coords={"test_language": TAGS[:n_test], "train_language": TAGS[:n_train]},
    )
    chance = xr.DataArray(
        np.full(n_train, 100 / n_train), coords={"train_language": TAGS[:n_train]}
    )
    return share, chance


def texts(svg: str) -> list[str]:
    root = ElementTree.fromstring(svg)
    return [element.text or "" for element in root.iter("{http://www.w3.org/2000/svg}text")]


@pytest.mark.parametrize(("n_train", "n_test"), [(1, 2), (2, 2), (5, 7), (11, 18), (18, 18)])
def test_a_heat_map_shows_every_share_and_every_language(n_train: int, n_test: int) -> None:
    share, chance = shares(n_train, n_test)
    found = texts(to_svg(charts.sharing_heat_map(share, chance, "")))
    digits = 1 if n_train > 10 else 0
    numbers = sorted(text for text in found if re.fullmatch(r"[\d.]+", text))
    # d3 rounds halves as JavaScript does; none of these numbers is a half.
    assert numbers == sorted(f"{value:.{digits}f}" for value in share.values.ravel().round(4))
    for tag in TAGS[:n_test]:
        assert found.count(language_label(tag)) == (2 if tag in TAGS[:n_train] else 1)


def test_zero_shot_languages_stand_apart_with_the_same_colours() -> None:
    share, chance = shares(3, 5)
    chart = charts.sharing_heat_map(share, chance, "").to_dict()
    trained, zero_shot = chart["vconcat"]
    assert zero_shot["title"].startswith("Zero-shot")
    scales = [part["layer"][0]["encoding"]["color"]["scale"] for part in (trained, zero_shot)]
    assert scales[0] == scales[1]


def test_chance_has_the_neutral_colour_and_the_scale_is_symmetric() -> None:
    share, chance = shares(4, 4)
    chart = charts.sharing_heat_map(share, chance, "").to_dict()
    scale = chart["vconcat"][0]["layer"][0]["encoding"]["color"]["scale"]
    domain = np.array(scale["domain"])
    assert domain == pytest.approx(-domain[::-1])
    assert scale["range"][list(domain).index(0)] == "#f7f7f7"
    assert domain[-1] >= float(abs(share - chance).max()), "a cell would be off the scale"


def test_differences_of_noise_are_not_stretched_to_the_deepest_colour() -> None:
    _, chance = shares(2, 2)
    share = xr.DataArray(
        [[50.2, 49.8], [49.9, 50.1]],
        coords={"test_language": ["en", "de"], "train_language": ["en", "de"]},
        dims=("test_language", "train_language"),
    )
    assert charts.colour_reach([share], chance) == 5.0


@given(st.floats(-1, 1))
def test_numbers_in_cells_have_a_contrast_of_at_least_four_and_a_half(distance: float) -> None:
    colours = np.array(
        [[int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)] for c in charts.BELOW_TO_ABOVE]
    )
    stops = np.linspace(-1, 1, len(colours))
    cell = np.array([np.interp(distance, stops, colours[:, channel]) for channel in range(3)])
    linear = np.where(cell <= 0.04045, cell / 12.92, ((cell + 0.055) / 1.055) ** 2.4)
    luminance = float(linear @ [0.2126, 0.7152, 0.0722])
    low, high = charts.WHITE_BEYOND
    white = distance < low or distance > high
    contrast = 1.05 / (luminance + 0.05) if white else (luminance + 0.05) / 0.05
    assert contrast >= 4.5, "WCAG 2.2, success criterion 1.4.3"


def course(n_languages: int, n_seeds: int) -> tuple[xr.DataArray, xr.DataArray]:
    values = np.random.default_rng(0).uniform(0, 1, (n_seeds, 4, n_languages))
    steps = [0, 5, 10, 15]
    array = xr.DataArray(
        values,
        coords={"seed": range(n_seeds), "checkpoint": steps, "language": TAGS[:n_languages]},
        dims=("seed", "checkpoint", "language"),
    )
    return array, xr.DataArray([0.0, 0.5, 1.0, 1.5], coords={"checkpoint": steps})


@pytest.mark.parametrize(("n_languages", "n_seeds"), [(1, 1), (2, 3), (18, 2)])
def test_every_language_has_its_panel(n_languages: int, n_seeds: int) -> None:
    accuracy, epochs = course(n_languages, n_seeds)
    chart = charts.accuracy_chart(accuracy, epochs, 3, "")
    found = texts(to_svg(chart))
    assert [t for t in found if t in map(language_label, TAGS)] == [
        language_label(tag) for tag in TAGS[:n_languages]
    ]
    seeds_are_drawn = len(chart.to_dict()["spec"]["layer"]) == 3
    assert seeds_are_drawn == (n_seeds > 1)


def test_the_chance_line_of_own_share_is_the_training_part_of_that_language() -> None:
    own, epochs = course(2, 1)
    chance = xr.DataArray([80.0, 20.0], coords={"train_language": ["en", "de"]})
    own = (100 * own).rename(language="test_language")
    chart = charts.own_share_chart(own, epochs, chance, "").to_dict()
    rows = [row for table in chart["datasets"].values() for row in table]
    assert {(row["language"], row["chance"]) for row in rows} == {
        ("en English", 80.0),
        ("de German", 20.0),
    }


def test_charts_are_saved_by_the_ending_of_the_name(tmp_path: Path) -> None:
    chart = charts.sharing_heat_map(*shares(2, 2), "")
    for ending, beginning in ((".svg", b"<svg"), (".png", b"\x89PNG"), (".json", b"{")):
        save_chart(chart, tmp_path / f"chart{ending}")
        assert (tmp_path / f"chart{ending}").read_bytes().startswith(beginning)
    assert alt.Chart.from_json((tmp_path / "chart.json").read_text()).to_dict()["vconcat"]
    with pytest.raises(ValueError, match=r"\.svg, \.png or \.json"):
        save_chart(chart, tmp_path / "chart.gif")
