"""Packing keeps every weight within half a step, and gives the same bytes each time."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sprachbund.embedded.packing import pack, unpack

# Rows below this are kept as zeros: their scale would not be a normal number.
SMALLEST_ROW = 127 * float(np.finfo(np.float32).tiny)
MATRICES = arrays(np.float32, (3, 5), elements=st.floats(-8, 8, width=32))


@given(MATRICES)
def test_a_weight_is_off_by_at_most_half_a_step(weight):
    restored = unpack(pack({"w": weight}))["w"]
    step = np.abs(weight).max(axis=1, keepdims=True) / 127
    assert (np.abs(restored - weight) <= 0.501 * step + SMALLEST_ROW).all()
    assert restored.dtype == np.float32


@given(MATRICES)
def test_packing_what_was_unpacked_changes_little(weight):
    once = unpack(pack({"w": weight}))["w"]
    twice = unpack(pack({"w": once}))["w"]
    np.testing.assert_allclose(twice, once, atol=float(np.abs(weight).max()) / 100 + 1e-6)


def test_vectors_are_kept_in_half_precision():
    bias = np.array([1.0, -0.5, 0.25], dtype=np.float32)
    assert np.array_equal(unpack(pack({"b": bias}))["b"], bias)


def test_a_row_of_zeros_stays_zero():
    assert not unpack(pack({"w": np.zeros((2, 4), dtype=np.float32)}))["w"].any()


@pytest.mark.parametrize("rows", [1, 300])
def test_packed_matrices_take_one_byte_a_weight(rows):
    packed = pack({"w": np.ones((rows, 256), dtype=np.float32)})
    assert sum(array.nbytes for array in packed.values()) == rows * (256 + 4)
