"""How the gradients of a matrix are kept and contracted: the choice, by measured costs.

Either the bank keeps the test examples' token factors, and scores come from Gram matrices over tokens; or it keeps the
gradients written out, and scores are one matrix product with the training gradients, written out as well.
"""

from enum import Enum

# Seconds for each unit of work on one CPU thread, as benchmarks/costs.py fits them: the product that writes a gradient
# out, writing and reading back an entry, an entry's share of the score product; a Gram entry's two inner products, and
# its element-wise product and sum.
_SECONDS_WRITE_FLOP = 15e-12
_SECONDS_ENTRY = 1.28e-9
_SECONDS_SCORE_ENTRY = 0.046e-9
_SECONDS_GRAM_FLOP = 16e-12
_SECONDS_GRAM_ENTRY = 6.3e-9


class Form(Enum):
    """How a matrix's test gradients are kept."""

    FACTORS = "factors"
    WRITTEN_OUT = "written out"


def cheaper_form(
    shape: tuple[int, int], tokens: int, size: int, examples: int | None = None
) -> Form:
    """The form in which scoring a training example of this many tokens against `size` rows costs less.

    A row is a test example, or the sum of several: factors do not add up, so all `examples` of them are contracted.
    """
    rows, columns = shape
    gram = tokens**2 * (2 * (rows + columns) * _SECONDS_GRAM_FLOP + _SECONDS_GRAM_ENTRY)
    write = rows * columns * (2 * tokens * _SECONDS_WRITE_FLOP + _SECONDS_ENTRY)
    factors = (size if examples is None else examples) * gram + min(
        gram, write
    )  # the norm comes from the cheaper of both
    written_out = write + rows * columns * size * _SECONDS_SCORE_ENTRY
    return Form.FACTORS if factors < written_out else Form.WRITTEN_OUT


def numbers_per_example(shape: tuple[int, int], tokens: int, form: Form) -> int:
    """How many numbers the bank holds for one test example."""
    rows, columns = shape
    return rows * columns if form is Form.WRITTEN_OUT else tokens * (rows + columns)
