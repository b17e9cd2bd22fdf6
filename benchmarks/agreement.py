"""How well some scores keep the order of the exact ones."""

from scipy.stats import spearmanr
from torch import Tensor


def agreement(found_MN: Tensor, exact_MN: Tensor) -> str:
    """Mean over test examples of Spearman's correlation, and of the overlap of the top 10 and the top 100."""
    pairs = zip(found_MN, exact_MN, strict=True)
    rho = sum(float(spearmanr(found, exact)[0]) for found, exact in pairs) / len(exact_MN)
    overlaps = " ".join(f"{_overlap(found_MN, exact_MN, k):.3f}" for k in (10, 100))
    return f"{rho:.3f} {overlaps}"


def _overlap(found_MN: Tensor, exact_MN: Tensor, k: int) -> float:
    pairs = zip(found_MN.topk(k, 1).indices, exact_MN.topk(k, 1).indices, strict=True)
    return sum(len(set(a.tolist()) & set(b.tolist())) / k for a, b in pairs) / len(exact_MN)
