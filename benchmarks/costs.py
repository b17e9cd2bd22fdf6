"""Is the form in which a matrix's gradients are kept the cheaper one? Measures both, and fits the cost model's units.

python benchmarks/costs.py [--threads 1]

For matrices of the usual shapes, tokens and numbers of test examples: seconds of scoring one training example by each
form, the one that `cheaper_form` chooses, and how much longer that takes than the better one. At the end the units
that fit the measurements best (non-negative least squares on relative errors), to compare with those in forms.py.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import nnls

from sprachbund.gradients.buffer import Buffer
from sprachbund.gradients.forms import Form, cheaper_form
from sprachbund.gradients.matrix_banks import FactorBank, WrittenOutBank
from sprachbund.gradients.parameter_bank import Each, ParameterBank
from sprachbund.gradients.per_example import OuterGradient

_SHAPES = ((256, 256), (1024, 256), (768, 768), (3072, 768))
_TOKENS = (1, 8, 32, 128)
_TESTS = (1, 4, 16, 125)
_BATCH = 32


@dataclass(frozen=True)
class Case:
    """One matrix."""

    shape: tuple[int, int]
    tokens: int
    tests: int

    def seconds(self, bank: ParameterBank) -> float:
        """Of scoring one training example."""
        for start in range(0, self.tests, _BATCH):
            bank.append(Each(start), self._gradient(min(_BATCH, self.tests - start)))
        train = self._gradient(_BATCH)
        return _best(lambda: bank.contract(train)) / _BATCH

    def _gradient(self, examples: int) -> OuterGradient:
        left, right = (torch.randn(examples, self.tokens, width) for width in self.shape)
        return OuterGradient(left, right)

    def factor_units(self) -> list[float]:
        """Flops and entries of the Gram matrices; the norm needs one more of them, or the gradient written out."""
        rows, columns = self.shape
        gram = [2 * self.tokens**2 * (rows + columns), self.tokens**2]
        write = [2 * rows * columns * self.tokens, rows * columns]
        cheaper_gram = self.tokens * (rows + columns) < rows * columns
        norm = [*gram, 0, 0, 0] if cheaper_gram else [0, 0, *write, 0]
        scores = [self.tests * gram[0], self.tests * gram[1], 0, 0, 0]
        return [score + of_norm for score, of_norm in zip(scores, norm, strict=True)]

    def written_units(self) -> list[float]:
        """Flops and entries of the gradient, and products with the bank."""
        rows, columns = self.shape
        entries = rows * columns
        return [0, 0, 2 * entries * self.tokens, entries, entries * self.tests]


def _best(work: Callable[[], object]) -> float:
    work()
    times: list[float] = []
    while len(times) < 3 or sum(times) < 0.2:
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    torch.set_num_threads(parser.parse_args().threads)
    torch.manual_seed(0)
    print("     matrix    T    M  factors us  written us      chosen  over the better")
    units, seconds = [], []
    for shape in _SHAPES:
        for tokens in _TOKENS:
            for tests in _TESTS:
                case = Case(shape, tokens, tests)
                factors = case.seconds(FactorBank(tests))
                written = case.seconds(WrittenOutBank(tests, torch.float32, Buffer()))
                chosen = cheaper_form(shape, tokens, tests)
                taken = factors if chosen is Form.FACTORS else written
                print(
                    f"{shape[0]:6}x{shape[1]:<4} {tokens:4} {tests:4} {1e6 * factors:11.0f} {1e6 * written:11.0f} "
                    f"{chosen.value:>11} {taken / min(factors, written):16.2f}",
                    flush=True,
                )
                units += [case.factor_units(), case.written_units()]
                seconds += [factors, written]
    scale = np.array(seconds)[:, None]
    fitted, _ = nnls(np.array(units) / scale, np.ones(len(seconds)))
    names = ("Gram flop", "Gram entry", "write flop", "entry", "score entry")
    print("; ".join(f"{name} {value:.3g} s" for name, value in zip(names, fitted, strict=True)))


if __name__ == "__main__":
    main()
