"""What became of each test example, in rows that can be checked by hand."""

import pandas as pd
import pytest

from sprachbund.validation.outcomes import outcomes, removed_examples, retrainings_made
from sprachbund.validation.selection import Removal, Target
from tiny_models import tiny_corpus

CORPUS = tiny_corpus(items=6)  # six rows of en, then six of de; the first three of each positive
TEST = CORPUS.take([0, 3, 6])
ASKED = [
    Removal(5, "influence", 2, 0, Target("en", (0, 1)), (0, 7)),
    Removal(5, "bm25", 2, 0, Target("en", (0, 1)), (0, 1)),
    Removal(5, "random", 2, 1, Target("", (0, 1, 2)), (3, 9)),
]


def probabilities(*positive: float) -> pd.DataFrame:
    values = [[1 - p, p] for p in positive]
    return pd.DataFrame(values, index=list(TEST.frame["id"]), columns=list(TEST.labels))


FULL = {5: probabilities(0.8, 0.7, 0.4)}
WITHOUT = [
    probabilities(0.6, 0.2, 0.1),
    probabilities(0.7, 0.7, 0.1),
    probabilities(0.8, 0.6, 0.7),
]


def test_a_row_holds_both_probabilities_of_the_class_that_the_run_predicts():
    found = outcomes(ASKED, WITHOUT, FULL, TEST)
    assert found["criterion"].tolist() == ["influence"] * 2 + ["bm25"] * 2 + ["random"] * 3
    assert found["target"].tolist() == ["en"] * 4 + [""] * 3
    assert found["draw"].tolist() == [0] * 4 + [1] * 3
    assert found["test"].tolist() == ["en-000", "en-003"] * 2 + ["en-000", "en-003", "de-000"]
    influence = found[found["criterion"] == "influence"]
    assert influence["predicted"].tolist() == ["positive", "positive"]
    assert influence["predicted_without"].tolist() == ["positive", "negative"]
    assert influence["probability"].tolist() == pytest.approx([0.8, 0.7])
    assert influence["probability_without"].tolist() == pytest.approx([0.6, 0.2])
    assert influence["label"].tolist() == ["positive", "negative"]
    assert influence["label_probability"].tolist() == pytest.approx([0.8, 0.3])
    assert influence["label_probability_without"].tolist() == pytest.approx([0.6, 0.8])
    last = found.iloc[-1]
    assert (last["test_language"], last["predicted"]) == ("de", "negative")
    assert last["probability_without"] == pytest.approx(0.3)


def test_a_retraining_says_what_its_examples_have_in_common():
    found = retrainings_made(ASKED, ["a", "b", "c"], CORPUS, TEST)
    assert found["retraining"].tolist() == ["a", "b", "c"]
    also = found["also_by_influence_percent"].tolist()
    assert also[:2] == [100.0, 50.0]
    assert pd.isna(also[2]), "random is for no language of its own"
    assert found["same_language_percent"].tolist() == [50.0, 100.0, 50.0]
    # The tests of en are positive and negative, all removed by influence positive.
    assert found["same_label_percent"].tolist()[:2] == [50.0, 50.0]


def test_every_removed_example_is_listed():
    found = removed_examples(ASKED, CORPUS)
    assert found["train"].tolist() == ["en-000", "de-001", "en-000", "en-001", "en-003", "de-003"]
    assert found["criterion"].tolist() == ["influence"] * 2 + ["bm25"] * 2 + ["random"] * 2
    assert found["train_language"].tolist() == ["en", "de", "en", "en", "en", "de"]
    assert found["train_label"].tolist() == ["positive"] * 4 + ["negative"] * 2
