"""Which parameters are attributed: trainable ones, chosen by name, each counted once though tied."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch import nn
from torch.nn.utils.parametrize import ParametrizationList

from sprachbund.errors import GradientError

ParameterFilter = Callable[[str], bool]


@dataclass(frozen=True)
class Selection:
    """The attributed parameters by name, and how many numbers they hold."""

    parameters: dict[str, nn.Parameter]
    trainable: int
    tables: frozenset[str]
    """Those that embeddings hold: their gradients touch few rows."""
    tied: frozenset[str]
    """Those of the tables that are linear heads too: their gradients touch every row."""

    @property
    def attributed(self) -> int:
        return sum(parameter.numel() for parameter in self.parameters.values())

    def coverage(self) -> str:
        """For people: "278.0 M of 278.0 M trainable parameters attributed"."""
        attributed, trainable = _millions(self.attributed), _millions(self.trainable)
        return f"{attributed} of {trainable} trainable parameters attributed"


def _millions(count: int) -> str:
    return f"{count / 1e6:.1f} M" if count >= 100_000 else f"{count:,}"


def select_parameters(model: nn.Module, wanted: ParameterFilter | None) -> Selection:
    """Trainable parameters of the model whose name passes `wanted` (all by default).

    A tied parameter goes by its first name and is chosen if any of its names is.

    Raises: GradientError if none is left, or one holds no numbers.
    """
    trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
    first_name = {parameter: name for name, parameter in trainable.items()}
    chosen: dict[str, nn.Parameter] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if parameter in first_name and (wanted is None or wanted(name)):
            chosen[first_name[parameter]] = parameter
    if not chosen:
        cause = "every parameter is frozen" if not trainable else "the filter leaves none"
        raise GradientError(f"no parameter to attribute: {cause} (requires_grad, parameters=)")
    empty = [name for name, parameter in chosen.items() if not parameter.numel()]
    if empty:
        raise GradientError(
            f"{', '.join(empty[:5])} holds no numbers: gather what is spread over processes (ZeRO, FSDP) first, or "
            "leave it out with parameters="
        )
    embedded = {module.weight for module in model.modules() if isinstance(module, nn.Embedding)}
    linear = {p for module, _, p in owners(model) if isinstance(module, nn.Linear)}
    return Selection(
        parameters=chosen,
        trainable=sum(parameter.numel() for parameter in trainable.values()),
        tables=frozenset(name for name, parameter in chosen.items() if parameter in embedded),
        tied=frozenset(
            name for name, parameter in chosen.items() if parameter in embedded & linear
        ),
    )


def owners(model: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Parameter]]:
    """Every (module, local name, parameter) that a module holds itself, ties included.

    What only stores parameters, a `ParameterDict` (of adapters) or a parametrization, is no such module: the one that
    it is part of uses them.
    """
    for module in model.modules():
        if not _only_stores(module):
            yield from _held(module, "", module)


def _held(
    owner: nn.Module, prefix: str, module: nn.Module
) -> Iterator[tuple[nn.Module, str, nn.Parameter]]:
    for local_name, parameter in module.named_parameters(recurse=False):
        yield owner, prefix + local_name, parameter
    for name, child in module.named_children():
        if _only_stores(child):
            yield from _held(owner, f"{prefix}{name}.", child)


def _only_stores(module: nn.Module) -> bool:
    """Whether nobody calls this module with what is computed."""
    forward = getattr(type(module), "forward", None)  # a scripted module's type has none
    return forward is nn.Module.forward or isinstance(module, ParametrizationList)
