"""The embedded corpus: parallel, nine groups, a split that leaks nothing."""

import emoji as emoji_names
import pytest

from sprachbund.embedded.emoji import LANGUAGES, emoji_corpus, emoji_frame
from sprachbund.errors import DataError, SprachbundWarning


@pytest.fixture(scope="module")
def frame():
    return emoji_frame()


def test_corpus_is_strictly_parallel_in_14_languages():
    corpus = emoji_corpus()
    assert corpus.is_parallel
    assert corpus.languages == LANGUAGES
    assert len(corpus) == len(LANGUAGES) * corpus.frame["item"].nunique()


def test_there_are_nine_groups_and_no_flags():
    corpus = emoji_corpus(["en"])
    assert len(corpus.labels) == 9
    assert "Flags" not in corpus.labels
    assert not corpus.frame["item"].str.match("^[\U0001f1e6-\U0001f1ff]").any(), "a country's flag"


def test_an_item_has_one_label_and_one_split(frame):
    assert (frame.groupby("item")[["label", "split", "group"]].nunique() == 1).all(axis=None)


def test_no_family_of_like_emoji_straddles_the_split(frame):
    assert (frame.groupby("group")["split"].nunique() == 1).all()
    juggling = frame[frame["item"].isin(["🤹", "🤹‍♂️", "🤹‍♀️"])]
    assert juggling["group"].nunique() == 1


def test_no_name_stands_in_both_splits(frame):
    for language, rows in frame.groupby("language"):
        names = {split: set(part["text"].str.lower()) for split, part in rows.groupby("split")}
        assert not names["train"] & names["test"], f"a test name was trained on in {language}"


def test_names_are_clean_text(frame):
    assert not frame["text"].str.contains("[_:]").any()
    assert (frame["text"] == frame["text"].str.strip()).all()
    grinning = frame[frame["item"] == "😀"].set_index("language")["text"]
    assert grinning["en"] == "grinning face"
    assert grinning["de"] == "grinsendes gesicht"


def test_skin_tones_of_one_emoji_do_not_repeat_it(frame):
    items = frame.loc[frame["label"] != "Component", "item"]
    assert not items.str.contains("[\U0001f3fb-\U0001f3ff]").any()


def test_sizes_are_those_that_the_documentation_states(frame):
    english = frame[frame["language"] == "en"]["split"].value_counts()
    assert english["train"] == 1027
    assert english["test"] == 583


def test_an_emoji_without_a_name_is_left_out_everywhere_and_said(monkeypatch, frame):
    fewer = {key: value for key, value in emoji_names.EMOJI_DATA.items() if key != "😀"}
    monkeypatch.setattr(emoji_names, "EMOJI_DATA", fewer)
    with pytest.warns(SprachbundWarning, match="1 of 1610 emoji"):
        smaller = emoji_frame(["en", "de"])
    assert "😀" not in set(smaller["item"])
    kept = frame[(frame["item"] != "😀") & frame["language"].isin(["en", "de"])]
    assert set(smaller["id"]) == set(kept["id"]), "ids and split of the others must not move"


@pytest.mark.parametrize(
    ("languages", "said"), [(["en", "sw"], "'sw'"), ([], "one or more"), (["en", "en"], "once")]
)
def test_languages_that_it_cannot_give_are_refused(languages, said):
    with pytest.raises(DataError, match=said):
        emoji_frame(languages)
