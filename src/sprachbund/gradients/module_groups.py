"""The parts of a transformer by the names of its modules: embeddings, each layer, head."""

from collections.abc import Sequence
from itertools import takewhile

from torch import nn

EMBEDDINGS, HEAD = "embeddings", "head"


def module_groups(model: nn.Module) -> dict[str, str]:
    """The group of every parameter, by its first name: "embeddings", "layer 0", "layer 1", ..., "head".

    Layers are the entries of the outermost `nn.ModuleList` with parameters; where there are several (encoder and
    decoder) their names come first ("encoder.block layer 0"). To the embeddings belongs every other `nn.Embedding`, and
    what the backbone (the smallest module that holds both the first embedding and the first layers) has before the
    layers: norms, position and type embeddings, projections. What is left is the head: poolers, final norms,
    classifiers.
    """
    stacks = _stacks(model)
    tables = _tables(model, stacks)
    before = _before_the_layers(model, stacks, tables)
    groups = {}
    for name, _ in model.named_parameters():
        stack = _inside(name, stacks)
        if stack is not None:
            groups[name] = _layer(name, stack, stacks)
        else:
            groups[name] = EMBEDDINGS if _owner(name) in tables or name in before else HEAD
    return groups


def _stacks(model: nn.Module) -> list[str]:
    """Paths of the module lists that hold parameters and lie in no other."""
    found: list[str] = []
    for path, module in model.named_modules():
        is_stack = isinstance(module, nn.ModuleList) and any(True for _ in module.parameters())
        if is_stack and _inside(path, found) is None:
            found.append(path)
    return found


def _tables(model: nn.Module, stacks: list[str]) -> list[str]:
    """Paths of the embeddings outside the layers, those with a vocabulary first as models define them first."""
    return [
        path
        for path, module in model.named_modules()
        if isinstance(module, nn.Embedding) and _inside(path, stacks) is None
    ]


def _before_the_layers(model: nn.Module, stacks: list[str], tables: list[str]) -> set[str]:
    """Names of the backbone's parameters that are defined before those of its layers."""
    if not stacks or not tables:
        return set()
    backbone = _shared([stacks[0], tables[0]])
    names = [
        name for name, _ in model.named_parameters() if name.split(".")[: len(backbone)] == backbone
    ]
    first = next(i for i, name in enumerate(names) if _inside(name, stacks) is not None)
    return set(names[:first])


def _layer(name: str, stack: str, stacks: list[str]) -> str:
    number = name.removeprefix(f"{stack}.").split(".")[0]
    if len(stacks) == 1:
        return f"layer {number}"
    own = stack.split(".")[len(_shared(stacks)) :]
    return f"{'.'.join(own)} layer {number}"


def _shared(paths: Sequence[str]) -> list[str]:
    """The names that all paths begin with."""
    by_depth = zip(*(path.split(".") for path in paths), strict=False)
    return [names[0] for names in takewhile(lambda names: len(set(names)) == 1, by_depth)]


def _inside(path: str, stacks: list[str]) -> str | None:
    return next((stack for stack in stacks if path.startswith(f"{stack}.")), None)


def _owner(name: str) -> str:
    return name.rpartition(".")[0]
