"""What a bfloat16 bank does to scores and ranks, on a finished study.

python benchmarks/bank_dtype.py RESULTS_FOLDER [--train 480] [--tests 32]
"""

import torch
from agreement import agreement
from finished_study import FinishedStudy

from sprachbund.gradients.engine import GradientEngine


def main() -> None:
    study = FinishedStudy.of_command_line(__doc__)
    with GradientEngine(study.model) as engine:
        whole, halved = (study.fill(engine, dtype) for dtype in (torch.float32, torch.bfloat16))
        exact, rounded = (study.scores(engine, filled) for filled in (whole, halved))
    print(f"bank: {whole.bank.nbytes / 2**20:.0f} MiB, {halved.bank.nbytes / 2**20:.0f} MiB")
    for similarity, truth in exact.items():
        error = float((rounded[similarity] - truth).norm() / truth.norm())
        print(
            f"{similarity}: relative error {error:.1e}; {agreement(rounded[similarity], truth)}"
            " (rho, top-10 and top-100 overlap)"
        )


if __name__ == "__main__":
    main()
