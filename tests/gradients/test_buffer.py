"""Written out block by block, in whichever direction: every entry of every gradient once, where it belongs."""

import pytest
import torch

from sprachbund.gradients import buffer as buffer_module
from sprachbund.gradients import matrix_banks
from sprachbund.gradients.buffer import Buffer
from sprachbund.gradients.matrix_banks import DenseBank, WrittenOutBank
from sprachbund.gradients.parameter_bank import Each, Means
from sprachbund.gradients.per_example import DenseGradient, OuterGradient

ROOM = 2048  # numbers, for the tests


def random_gradient(examples: int, rows: int, columns: int, seed: int) -> OuterGradient:
    random = torch.Generator().manual_seed(seed)
    left, right = (
        torch.randn(examples, 5, width, generator=random, dtype=torch.float64)
        for width in (rows, columns)
    )
    return OuterGradient(left, right)


def written_out(gradient: OuterGradient) -> torch.Tensor:
    """The gradients as the sums of outer products that they are."""
    return torch.einsum("nto,nti->noi", gradient.left_BTO, gradient.right_BTI)


@pytest.mark.parametrize(
    ("rows", "columns", "heights"),
    [
        (40, 8, [40]),
        (200, 8, [64, 64, 64, 8]),
        (300, 3, [192, 108]),
        (5, 400, [1, 1, 1, 1, 1]),
        (5, 5000, [1, 1, 1, 1, 1]),
    ],
    ids=[
        "all at once",
        "in strips",
        "in several strips",
        "less than a strip",
        "more than the room",
    ],
)
def test_blocks_are_whole_strips_and_hold_every_entry_once(rows, columns, heights, monkeypatch):
    monkeypatch.setattr(buffer_module, "_room", lambda: ROOM)
    gradient = random_gradient(3, rows, columns, seed=1)
    found = torch.full((3, rows * columns), torch.nan, dtype=torch.float64)
    seen = []
    for block_BRI, span in Buffer().written_out(gradient):
        assert found[:, span].isnan().all()
        found[:, span] = block_BRI.flatten(1)
        seen.append(block_BRI.shape[1])
    assert seen == heights
    assert torch.allclose(found, written_out(gradient).flatten(1), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("widest", [1, 10**6], ids=["long axis as rows", "short axis as rows"])
@pytest.mark.parametrize("shape", [(150, 130), (130, 150), (150, 150)])
@pytest.mark.parametrize("placement", ["each", "means"])
def test_scores_do_not_depend_on_how_gradients_are_written_out(
    widest, shape, placement, monkeypatch
):
    """More entries than are transposed at once."""
    monkeypatch.setattr(matrix_banks, "_WIDEST", widest)
    monkeypatch.setattr(buffer_module, "_room", lambda: 40_000)
    test, train = (random_gradient(count, *shape, seed=count) for count in (4, 3))
    weight_GM = torch.eye(4, dtype=torch.float64)
    if placement == "means":
        weight_GM = torch.tensor([[0.5, 0.5, 0, 0], [0, 0, 0.3, 0.7]], dtype=torch.float64)
    bank = WrittenOutBank(len(weight_GM), torch.float64, Buffer())
    for start in (0, 2):
        some = OuterGradient(test.left_BTO[start : start + 2], test.right_BTI[start : start + 2])
        where = Each(start)
        if placement == "means":
            row = weight_GM[:, start : start + 2].argmax(0)
            where = Means(row, weight_GM[row, torch.arange(start, start + 2)])
        bank.append(where, some)
    dot_GB, squares_B = bank.contract(train)
    here, there = written_out(test).flatten(1), written_out(train).flatten(1)
    assert torch.allclose(dot_GB, weight_GM @ here @ there.T, rtol=1e-12, atol=1e-9)
    assert torch.allclose(squares_B, there.square().sum(1), rtol=1e-12)


@pytest.mark.parametrize("shape", [(7,), (3, 5, 4), (4, 150, 150)], ids=str)
@pytest.mark.parametrize("tests", [1, 3, 70])
def test_scores_of_parameters_of_any_shape_are_their_inner_products(shape, tests):
    """Those of many numbers, experts for instance, go another way."""
    random = torch.Generator().manual_seed(tests)
    test, train = (torch.randn(count, *shape, generator=random) for count in (tests, 5))
    bank = DenseBank(tests)
    bank.append(Each(0), DenseGradient(test[:1]))
    if tests > 1:
        bank.append(Each(1), DenseGradient(test[1:]))
    dot_MB, squares_B = bank.contract(DenseGradient(train))
    here, there = test.flatten(1).double(), train.flatten(1).double()
    norms = here.norm(dim=1)[:, None] * there.norm(dim=1)
    assert ((dot_MB - here @ there.T).abs() / norms).max() < 1e-6
    assert torch.allclose(squares_B, there.square().sum(1), rtol=1e-6)
