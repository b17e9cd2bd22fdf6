"""Sub-word overlap, against counters in plain Python."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sprachbund.analysis.subwords import token_overlap, type_overlap
from sprachbund.errors import InfluenceError

texts = st.lists(st.integers(0, 9), min_size=1, max_size=30)


@given(one=texts, other=texts)
def test_overlaps_are_those_of_sets_and_multisets(one: list[int], other: list[int]) -> None:
    tokens = {"en": np.array(one), "de": np.array(other)}
    n = min(len(one), len(other))
    first, second = set(one[:n]), set(other[:n])
    found = type_overlap(tokens)
    assert found.values[0, 1] == pytest.approx(len(first & second) / len(first | second))
    counts = Counter(one), Counter(other)
    expected = sum(min(counts[0][v] / len(one), counts[1][v] / len(other)) for v in range(10))
    assert token_overlap(tokens).values[0, 1] == pytest.approx(expected)
    for measured in (found, token_overlap(tokens)):
        np.testing.assert_allclose(measured, measured.values.T)
        np.testing.assert_allclose(np.diag(measured), 1)


def test_twice_the_text_is_not_twice_the_overlap() -> None:
    rng = np.random.default_rng(0)
    short, long = rng.zipf(1.5, 2000).clip(max=500), rng.zipf(1.5, 20_000).clip(max=500)
    found = type_overlap({"en": short, "de": long, "fr": long[:2000]})
    assert found.values[0, 1] == found.values[0, 2]


def test_a_language_without_tokens_is_named() -> None:
    with pytest.raises(InfluenceError, match="no tokens are given for de"):
        type_overlap({"en": np.array([1]), "de": np.array([], dtype=int)})
