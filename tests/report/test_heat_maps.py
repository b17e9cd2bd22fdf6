"""Heat maps hold every number, keep to their colours, and stay readable from 2 to 18 languages."""

import re
from pathlib import Path

import altair as alt
import numpy as np
import pandas as pd
import pytest
from chart_reader import TAGS, rows_of_chart, texts
from hypothesis import given
from hypothesis import strategies as st

from sprachbund.report import heat_maps
from sprachbund.report.drawing import save_chart, to_svg
from sprachbund.report.heat_maps import Pairs, heat_map
from sprachbund.report.languages import language_label


def shares(n_train: int, n_test: int, seed: int = 0) -> Pairs:
    values = np.random.default_rng(seed).dirichlet(np.ones(n_train), n_test) * 100
    frame = pd.DataFrame(
        [
            {
                "test_language": test,
                "train_language": train,
                "mean": values[i, j],
                "low": values[i, j] - 1,
                "high": values[i, j] + 1,
                "chance": 100 / n_train,
                "marked": i == j,
            }
            for i, test in enumerate(TAGS[:n_test])
            for j, train in enumerate(TAGS[:n_train])
        ]
    )
    return Pairs(frame, TAGS[:n_train])


@pytest.mark.parametrize(("n_train", "n_test"), [(1, 2), (2, 2), (5, 7), (11, 18), (18, 18)])
def test_a_heat_map_shows_every_share_and_every_language(n_train: int, n_test: int) -> None:
    pairs = shares(n_train, n_test)
    found = texts(to_svg(heat_map(pairs, "")))
    digits = 1 if n_train > 10 else 0
    numbers = sorted(text for text in found if re.fullmatch(r"[\d.]+", text))
    # d3 rounds halves as JavaScript does; none of these numbers is a half.
    assert numbers == sorted(f"{value:.{digits}f}" for value in pairs.frame["mean"].round(4))
    for tag in TAGS[:n_test]:
        assert found.count(language_label(tag)) == (2 if tag in TAGS[:n_train] else 1)


def test_marked_pairs_have_a_dot_and_a_pair_without_a_number_has_no_cell() -> None:
    pairs = shares(3, 3)
    pairs.frame.loc[0, "mean"] = np.nan
    chart = heat_map(pairs, "")
    assert len(rows_of_chart(chart)) == 8
    assert texts(to_svg(chart)).count("●") == 2, "of three marked pairs one has no number"


def test_the_interval_is_shown_on_pointing_and_is_a_dash_where_it_is_not_known() -> None:
    pairs = shares(2, 2)
    pairs.frame.loc[0, ["mean", "low", "high"]] = [40.0, 30.0, 50.0]
    pairs.frame.loc[1, ["mean", "low", "high"]] = [60.0, np.nan, np.nan]
    estimates = [row["estimate"] for row in rows_of_chart(heat_map(pairs, ""))]
    assert estimates[:2] == ["40.0% [30.0, 50.0]", "60.0% [–]"]


def test_zero_shot_languages_stand_apart_with_the_same_colours() -> None:
    trained, zero_shot = heat_map(shares(3, 5), "").to_dict()["vconcat"]
    assert zero_shot["title"].startswith("Zero-shot")
    scales = [part["layer"][0]["encoding"]["color"]["scale"] for part in (trained, zero_shot)]
    assert scales[0] == scales[1]


def test_chance_has_the_neutral_colour_and_the_scale_is_symmetric() -> None:
    pairs = shares(4, 4)
    chart = heat_map(pairs, "").to_dict()
    scale = chart["vconcat"][0]["layer"][0]["encoding"]["color"]["scale"]
    domain = np.array(scale["domain"])
    assert domain == pytest.approx(-domain[::-1])
    assert scale["range"][list(domain).index(0)] == "#f7f7f7"
    farthest = (pairs.frame["mean"] - pairs.frame["chance"]).abs().max()
    assert domain[-1] >= farthest, "a cell would be off the scale"


def test_differences_of_noise_are_not_stretched_to_the_deepest_colour() -> None:
    pairs = shares(2, 2)
    pairs.frame["mean"] = [50.2, 49.8, 49.9, 50.1]
    assert pairs.reach == 5.0


@given(st.floats(-1, 1))
def test_numbers_in_cells_have_a_contrast_of_at_least_four_and_a_half(distance: float) -> None:
    colours = np.array(
        [[int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)] for c in heat_maps.BELOW_TO_ABOVE]
    )
    stops = np.linspace(-1, 1, len(colours))
    cell = np.array([np.interp(distance, stops, colours[:, channel]) for channel in range(3)])
    linear = np.where(cell <= 0.04045, cell / 12.92, ((cell + 0.055) / 1.055) ** 2.4)
    luminance = float(linear @ [0.2126, 0.7152, 0.0722])
    low, high = heat_maps.WHITE_BEYOND
    white = distance < low or distance > high
    contrast = 1.05 / (luminance + 0.05) if white else (luminance + 0.05) / 0.05
    assert contrast >= 4.5, "WCAG 2.2, success criterion 1.4.3"


def test_charts_are_saved_by_the_ending_of_the_name(tmp_path: Path) -> None:
    chart = heat_map(shares(2, 2), "")
    for ending, beginning in ((".svg", b"<svg"), (".png", b"\x89PNG"), (".json", b"{")):
        save_chart(chart, tmp_path / f"chart{ending}")
        assert (tmp_path / f"chart{ending}").read_bytes().startswith(beginning)
    assert alt.Chart.from_json((tmp_path / "chart.json").read_text()).to_dict()["vconcat"]
    with pytest.raises(ValueError, match=r"\.svg, \.png or \.json"):
        save_chart(chart, tmp_path / "chart.gif")
