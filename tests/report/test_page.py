"""The page is whole, safe and self-contained, and shows what the analysis computed."""

import base64
import hashlib
import json
import re
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from made_up_report import LABELS, TEST, TRAIN, WORDS, influence, made_up
from page_reader import Element, cells, read_page

from sprachbund.analysis.dynamics import own_language_share
from sprachbund.analysis.sharing import language_share
from sprachbund.errors import InfluenceError, SprachbundWarning, StudyError
from sprachbund.report import ReportData, write_report
from sprachbund.report.languages import language_label
from synthetic_influence import arguments, scores, write

CHARTS = [
    "accuracy", "controls", "dynamics", "opponents", "proponents", "reinforcement", "share-by-k",
    "zero-shot",
]  # fmt: skip
HOSTILE = (
    '</script></p>"\'><img src=x onerror="alert(1)"><script>alert(2)</script>&lt;{{ 7*7 }}<!--'
)


def written(folder: Path, data: ReportData, **options: int) -> tuple[str, Element]:
    html = write_report(folder / "report.html", data, **options).read_text(encoding="utf-8")
    return html, read_page(html)


@pytest.fixture(scope="module")
def data() -> ReportData:
    return made_up()


@pytest.fixture(scope="module")
def page(data: ReportData, tmp_path_factory: pytest.TempPathFactory) -> Element:
    return written(tmp_path_factory.mktemp("report"), data)[1]


def test_the_page_loads_nothing_from_the_network(page: Element) -> None:
    loading = {"src", "srcset", "data", "poster", "action", "href", "xlink:href", "background"}
    for element in page.everything():
        for name in loading & set(element.attributes):
            target = element.attributes[name]
            is_link = element.name == "a" and name == "href"
            assert is_link or target.startswith("#"), f"<{element.name} {name}={target!r}>"
    assert not [e for e in page.everything() if e.name in ("link", "iframe", "object", "img")]
    for style in page.all("style"):
        assert "url(" not in style.text
        assert "@import" not in style.text


def test_the_content_security_policy_lets_only_our_script_run(page: Element) -> None:
    policies = [m for m in page.all("meta") if "http-equiv" in m.attributes]
    policy = policies[0].attributes["content"]
    (script,) = (s for s in page.all("script") if "type" not in s.attributes)
    digest = base64.b64encode(hashlib.sha256("".join(script.pieces).encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}';" in policy, "the browser would refuse to draw the charts"
    assert "default-src 'none'" in policy


def test_text_from_the_data_never_becomes_markup(tmp_path: Path) -> None:
    texts = {language: [f"{HOSTILE} {word}" for word in WORDS[language]] for language in TRAIN}
    result = influence(TRAIN, TEST, texts=texts, text_pair=HOSTILE)
    dataset = result.dataset
    for name in ("train_label", "test_label", "train_item", "test_item"):
        dataset = dataset.assign_coords({name: dataset[name] + HOSTILE})
    dataset["test_prediction"] = dataset["test_prediction"] + HOSTILE
    dataset.attrs["provenance"] = json.dumps({"model": HOSTILE})
    data = made_up(
        title=HOSTILE,
        model=HOSTILE,
        configuration=HOSTILE,
        environment={HOSTILE: HOSTILE},
        warnings=[HOSTILE],
        influences={0: type(result)(dataset)},
    )
    _, page = written(tmp_path, data)
    elements = page.everything()
    assert len(page.all("script")) == len(CHARTS) + 1, "the specifications and our own script"
    assert not page.all("img")
    assert not [name for e in elements for name in e.attributes if name.startswith("on")]
    plain = " ".join(HOSTILE.split())
    assert page.one("h1").text == plain
    assert page.one("title").text == plain
    assert any(plain in element.text for element in page.all("td"))


def test_a_hostile_language_tag_is_escaped_in_the_charts_too(tmp_path: Path) -> None:
    tag = "</script><b>x"
    _, page = written(tmp_path, made_up(("en", tag), ("en", tag), k=3))
    assert not page.all("b") or all(b.text != "x" for b in page.all("b"))
    for script in page.all("script", type="application/json"):
        json.loads("".join(script.pieces))


def test_every_test_language_has_its_examples(page: Element) -> None:
    headings = [heading.text for heading in page.all("h3")]
    for language in TEST:
        assert any(heading.startswith(language_label(language)) for heading in headings)
    assert len(page.all("details", class_="example")) == 3 * len(TEST)


def test_zero_shot_languages_are_marked(page: Element) -> None:
    marked = [h.text for h in page.all("h3") if "zero-shot" in h.text]
    assert marked == [f"{language_label(tag)} zero-shot" for tag in TEST if tag not in TRAIN]


def test_texts_carry_their_language_and_direction(page: Element) -> None:
    texts = [e for e in page.everything() if "text" in e.attributes.get("class", "").split()]
    texts = [e for e in texts if "lang" in e.attributes]
    assert {e.attributes["lang"] for e in texts} == set(TEST)
    for element in texts:
        rtl = element.attributes["lang"] in ("ar", "he", "fa", "ur")
        assert element.attributes["dir"] == ("rtl" if rtl else "ltr"), element.attributes


@pytest.mark.parametrize("sign", ["proponents", "opponents"])
def test_the_sharing_table_equals_the_analysis(page: Element, data: ReportData, sign: str) -> None:
    found = cells(page.one("section", id=sign).all("table")[0])
    expected = language_share(data.influences[0], data.k, sign)
    assert len(found) == len(TEST) * len(TRAIN)
    for test in TEST:
        for train in TRAIN:
            share = float(expected.sel(test_language=test, train_language=train))
            shown = found[language_label(test), language_label(train)]
            assert shown.startswith(f"{share:.1f}% [")


@pytest.mark.parametrize("sign", ["proponents", "opponents"])
def test_the_heat_map_equals_the_analysis(page: Element, data: ReportData, sign: str) -> None:
    (script,) = page.all("script", id=f"chart-{sign}-specification")
    specification = json.loads("".join(script.pieces))
    rows = [row for table in specification["datasets"].values() for row in table]
    found = {(row["test"], row["train"]): row["value"] for row in rows}
    expected = language_share(data.influences[0], data.k, sign)
    for test in TEST:
        for train in TRAIN:
            share = float(expected.sel(test_language=test, train_language=train))
            assert found[language_label(test), language_label(train)] == pytest.approx(share, 1e-4)


def test_the_dynamics_table_equals_the_analysis(page: Element, data: ReportData) -> None:
    changes, alone, *_ = page.one("section", id="dynamics").all("table")
    found = cells(alone)
    expected = own_language_share(data.influences[0], data.k, "proponents")
    assert {row for row, _ in found} == {language_label(tag) for tag in TRAIN}, "no zero-shot rows"
    for tag in TRAIN:
        for epoch, value in enumerate(expected.sel(test_language=tag).values):
            assert found[language_label(tag), f"Epoch {epoch}"].startswith(f"{value:.1f}% [")
    course = expected.sel(test_language=list(TRAIN)).mean("test_language")
    change = float(course.isel(checkpoint=-1) - course.isel(checkpoint=0))
    shown = cells(changes)[str(data.k), "since the starting point"].replace("−", "-")
    assert float(shown.split(" ")[0]) == pytest.approx(change, abs=0.051)


def test_the_accuracy_table_equals_what_was_measured(page: Element, data: ReportData) -> None:
    found = cells(page.one("section", id="accuracy").one("table"))
    for row in data.accuracy.itertuples():
        shown = found[language_label(str(row.language)), f"Epoch {row.epoch:g}"]
        assert shown.startswith(f"{100 * float(row.accuracy):.1f}% [")


def test_the_lists_are_the_proponents_and_opponents_of_the_result(
    page: Element, data: ReportData
) -> None:
    shown = page.one("section", id="examples-1").all("details", class_="example")[0]
    for table, ranked in zip(
        shown.all("table", class_="ranked"),
        (data.first.proponents("test-en-0", 8), data.first.opponents("test-en-0", 8)),
        strict=True,
    ):
        rows = table.one("tbody").all("tr")
        texts = [row.all("div", class_="text")[0].text for row in rows]
        assert texts == ranked["text"].tolist()
        scores = [row.one("td", class_="score").text.replace("−", "-") for row in rows]
        assert [float(score) for score in scores] == pytest.approx(ranked["score"], rel=5e-3)
        items = [row.one("td", class_="item").text for row in rows]
        assert items == ranked["item"].tolist()


def test_translations_of_the_test_example_and_of_each_other_are_marked(page: Element) -> None:
    for shown in page.all("details", class_="example"):
        own = shown.one("bdi").text
        for table in shown.all("table", class_="ranked"):
            first: dict[str, int] = {}
            for number, row in enumerate(table.one("tbody").all("tr"), start=1):
                item = row.one("td", class_="item").text
                marks = [tag.text for tag in row.all("span", class_="tag")]
                if item == own:
                    assert marks == ["same item as the test example"]
                else:
                    assert marks == ([f"same item as no. {first[item]}"] if item in first else [])
                first.setdefault(item, number)


def test_gold_label_prediction_and_probability_are_of_the_last_checkpoint(
    page: Element, data: ReportData
) -> None:
    shown = page.one("section", id="examples-1").all("details", class_="example")[0]
    last = data.first.dataset.isel(checkpoint=-1).sel(test="test-en-0")
    prediction, probability = str(last["test_prediction"].values), float(last["test_probability"])
    verdict = shown.one("span", class_="verdict").text
    assert f"gold {LABELS[0]}; predicted {prediction} with probability {probability:.2f}" in verdict
    assert ("wrong" in verdict) == (prediction != LABELS[0])


def test_headings_never_skip_a_level_and_tables_have_captions(page: Element) -> None:
    levels = [int(e.name[1]) for e in page.everything() if re.fullmatch(r"h[1-6]", e.name)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert max(np.diff(levels)) <= 1
    assert all(len(table.all("caption")) == 1 for table in page.all("table"))
    ids = [e.attributes["id"] for e in page.one("body").everything() if "id" in e.attributes]
    assert len(ids) == len(set(ids)), "an id that is there twice leads a link astray"
    targets = {a.attributes["href"][1:] for a in page.all("a") if a.attributes["href"][0] == "#"}
    assert targets <= set(ids)


def test_the_command_that_replays_the_study_names_its_folder(tmp_path: Path) -> None:
    """Else the stages that are done there would be done again elsewhere."""
    folder = tmp_path / "my <study>"
    page = written(folder, made_up())[1]
    commands = [code.text for code in page.one("section", id="replay").all("code")]
    assert f"sprachbund run study.yaml --output '{folder}'" in commands


def test_charts_are_drawn_without_javascript_too(page: Element, tmp_path: Path) -> None:
    assert all(len(place.all("svg")) == 1 for place in page.all("div", class_="chart"))
    write_report(tmp_path / "out" / "report.html", made_up())
    figures = sorted((tmp_path / "out" / "figures").iterdir())
    assert [figure.stem for figure in figures] == CHARTS
    for figure in figures:
        assert ElementTree.parse(figure).getroot().tag.endswith("svg")


def test_several_seeds_show_mean_and_deviation(tmp_path: Path) -> None:
    data = made_up(seeds=(3, 1))
    _, page = written(tmp_path, data)
    shares = [
        float(
            language_share(data.influences[seed], data.k).sel(
                test_language="ko", train_language="de"
            )
        )
        for seed in (1, 3)
    ]
    pair = language_label("ko"), language_label("de")
    mean = cells(page.one("section", id="proponents").all("table")[0])[pair]
    assert mean.startswith(f"{np.mean(shares):.1f}% [")
    deviation = cells(page.one("section", id="seeds").all("table")[0])[pair]
    assert deviation.removesuffix(" sign") == f"{np.std(shares, ddof=1):.1f}"
    assert "of seed 1" in page.one("section", id="examples").text


@pytest.mark.parametrize(
    ("train", "test", "method"),
    [
        (("en",), ("en",), "tracin"),
        (("en",), ("ko",), "tracin-cosine"),
        (("en", "de"), ("ko", "ar"), "tracin"),
        (("en", "de"), ("de",), "tracin-cosine"),
    ],
)
def test_any_mix_of_languages_makes_a_page(
    train: tuple[str, ...], test: tuple[str, ...], method: str, tmp_path: Path
) -> None:
    _, page = written(tmp_path, made_up(train, test, k=2, method=method))
    assert len(page.all("details", class_="example")) == 3 * len(test)
    followed = bool(page.all("div", id="chart-dynamics"))
    assert followed == bool(set(train) & set(test)), "own-language shares need a language of both"
    assert bool(page.all("section", id="zero-shot")) == bool(set(test) - set(train))
    weighted = "η" in page.one("section", id="method").text
    assert weighted == (method == "tracin"), "the equation must be that of the method"


def test_what_the_analysis_warns_of_is_said_once_and_on_the_page(tmp_path: Path) -> None:
    with pytest.warns(SprachbundWarning, match="above a third") as caught:
        _, page = written(tmp_path, made_up(k=20, warnings=["Half of the runs failed."]))
    assert len(caught) == 1
    said = [entry.text for entry in page.one("aside").all("li")]
    assert said == ["Half of the runs failed.", str(caught[0].message)]


def test_a_stored_result_makes_a_page(tmp_path: Path) -> None:
    train, test = ["en", "de"] * 6, ["en", "ko"] * 2
    given = arguments(train, test, "tracin-cosine")
    result = write(tmp_path / "influence.zarr", scores(3, len(test), len(train)), given)
    data = made_up(("en", "de"), ("en", "ko"), k=2, influences={0: result})
    _, page = written(tmp_path, data)
    found = cells(page.one("section", id="proponents").all("table")[0])
    share = float(language_share(result, 2).sel(test_language="ko", train_language="de"))
    assert found["ko Korean", "de German"].startswith(f"{share:.1f}% [")


def test_data_that_is_not_parallel_has_no_item_column(tmp_path: Path) -> None:
    data = made_up(influences={0: influence(TRAIN, TEST, parallel=False)})
    _, page = written(tmp_path, data)
    assert not page.all("td", class_="item")
    assert "same item" not in page.one("section", id="examples").text
    (said,) = page.one("section", id="reinforcement").all("p")
    assert said.text.startswith("Not possible with this data: the training data is not parallel")


def test_long_texts_are_folded_but_whole(tmp_path: Path) -> None:
    long = " ".join(f"word{i}" for i in range(200))
    data = made_up(influences={0: influence(TRAIN, TEST, texts={"en": [long] * 6})})
    _, page = written(tmp_path, data)
    folded = page.all("details", class_="long")
    assert folded
    assert all(long in element.text for element in folded)


def test_both_texts_of_a_pair_are_shown(tmp_path: Path) -> None:
    data = made_up(influences={0: influence(TRAIN, TEST, text_pair="the second sentence")})
    _, page = written(tmp_path, data, examples_per_language=1, proponents_per_example=2)
    rows = [
        row for table in page.all("table", class_="ranked") for row in table.one("tbody").all("tr")
    ]
    assert len(rows) == 2 * 2 * len(TEST)
    assert all(row.all("p")[1].text == "the second sentence" for row in rows)
    for shown in page.all("details", class_="example"):
        parts = shown.one("summary").all("span", class_="text")
        assert [part.text for part in parts[1:]] == ["the second sentence"]


def test_a_page_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StudyError, match="cannot be written"):
        write_report(tmp_path / "file" / "report.html", made_up(("en",), ("en",), k=2))


def test_k_beyond_the_training_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InfluenceError, match="k is 1000, but there are 30"):
        write_report(tmp_path / "report.html", made_up(k=1000))
    assert not (tmp_path / "report.html").exists()


def test_parts_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(
        StudyError, match=r"seeds 0 and 1 are not runs on the same examples: .* in test and"
    ):
        made_up(influences={0: influence(TRAIN, TEST), 1: influence(TRAIN, ("en",))})
    with pytest.raises(StudyError, match="at least one seed"):
        made_up(influences={})
    with pytest.raises(StudyError, match="lacks the columns loss"):
        made_up(accuracy=made_up().accuracy.drop(columns="loss"))


@pytest.mark.slow
def test_the_page_draws_its_charts_in_a_browser(tmp_path: Path) -> None:
    browser = next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
    )
    if browser is None:
        pytest.skip("no Chromium on this machine to draw the page in")
    path = write_report(tmp_path / "report.html", made_up())
    options = [
        "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync",
        "--disable-background-networking", "--disable-component-update", "--enable-logging=stderr",
        "--virtual-time-budget=10000", f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom",
    ]  # fmt: skip
    done = subprocess.run(
        [browser, *options, path.as_uri()], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.count("vega-embed has-actions") == len(CHARTS), "a chart was not made live"
    assert "CONSOLE" not in done.stderr, done.stderr
