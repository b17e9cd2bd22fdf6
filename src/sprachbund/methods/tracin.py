"""TracIn (Pruthi et al. 2020): similarity of loss gradients at the checkpoints of a run, by inner product or cosine."""

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor

from sprachbund.errors import ConfigurationError
from sprachbund.gradients.similarity import cosine


class Method(ABC):
    """What one checkpoint contributes; how checkpoints add up is written in `Influence.total_weights`."""

    name: ClassVar[str]
    registry: ClassVar[dict[str, type["Method"]]] = {}

    def __init_subclass__(cls) -> None:
        Method.registry[cls.name] = cls

    @abstractmethod
    def influence(self, dot_MN: Tensor, test_norm_M: Tensor, train_norm_N: Tensor) -> Tensor:
        """Influence [M, N] from inner products of gradients and their norms."""


class TracIn(Method):
    """The inner product. TracInCP weighs each checkpoint by its learning rate when they are summed."""

    name = "tracin"

    def influence(self, dot_MN: Tensor, test_norm_M: Tensor, train_norm_N: Tensor) -> Tensor:  # noqa: ARG002
        return dot_MN


class TracInCosine(Method):
    """The cosine, which long or surprising training examples do not dominate (Choenni et al. 2023, section 3)."""

    name = "tracin-cosine"

    def influence(self, dot_MN: Tensor, test_norm_M: Tensor, train_norm_N: Tensor) -> Tensor:
        return cosine(dot_MN, test_norm_M, train_norm_N)


def method_named(name: str) -> Method:
    """Raises: ConfigurationError if there is no such method."""
    if name not in Method.registry:
        raise ConfigurationError(
            f'attribution.method "{name}" is not one of {", ".join(Method.registry)}'
        )
    return Method.registry[name]()
