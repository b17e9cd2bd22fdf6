"""Sites: the modules to watch for the wanted parameters, each with the rule for its type."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from torch import nn

from sprachbund.gradients.local import LocalRule
from sprachbund.gradients.parameters import owners
from sprachbund.gradients.rules import EmbeddingRule, LinearRule, LookupRule, Rule

_TIED_KINDS = {EmbeddingRule, LookupRule, LinearRule}


@dataclass(frozen=True)
class Site:
    """A module whose rule yields gradients of wanted parameters: {local name: parameter name}."""

    module: nn.Module
    rule: Rule
    names: Mapping[str, str]
    is_hidden: bool
    """Whether autograd is not to see that the module uses its table or matrix: its forward is its class's own."""


def used_by_hidden(sites: Iterable[Site]) -> dict[str, nn.Parameter]:
    """Parameters of hidden modules alone: where autograd has a gradient for one, something else uses it, too."""
    used: dict[str, nn.Parameter] = {}
    others: set[str] = set()
    for site in sites:
        if site.is_hidden:
            used |= {name: site.module.get_parameter(local) for local, name in site.names.items()}
        else:
            others.update(site.names.values())
    return {name: parameter for name, parameter in used.items() if name not in others}


def find_sites(model: nn.Module, parameters: Mapping[str, nn.Parameter]) -> tuple[Site, ...]:
    """The modules to watch: all that hold a wanted parameter themselves.

    A parameter that modules of different kinds share is in no site, but for an embedding tied to a linear head.
    """
    name_of = {parameter: name for name, parameter in parameters.items()}
    held: dict[nn.Module, dict[str, str]] = defaultdict(dict)
    for module, local_name, parameter in owners(model):
        if parameter in name_of:
            held[module][local_name] = name_of[parameter]
    rules = {module: _rule_for(module, names) for module, names in held.items()}
    kinds: dict[str, set[type[Rule]]] = defaultdict(set)
    for module, names in held.items():
        for name in names.values():
            kinds[name].add(type(rules[module]))
    sites = []
    for module, names in held.items():
        rule = rules[module]
        if isinstance(module, nn.Embedding) and isinstance(rule, LocalRule):
            continue  # it would write out the whole table for each example
        names = {local: name for local, name in names.items() if _watched(type(rule), kinds[name])}
        if names:
            has_own = isinstance(rule, LinearRule | EmbeddingRule) and "forward" not in vars(module)
            sites.append(Site(module, rule, names, is_hidden=has_own))
    return tuple(sites)


def _watched(kind: type[Rule], kinds: set[type[Rule]]) -> bool:
    """Whether a module of this kind is to be watched for a parameter that modules of all these kinds hold.

    A module without a rule of its own often only keeps a reference (a head, to its decoder's bias): the proof tells.
    """
    if len(kinds) > 1 and kind is LocalRule:
        return False
    return len(kinds - {LocalRule}) <= 1 or kinds - {LocalRule} <= _TIED_KINDS


def _rule_for(module: nn.Module, names: Collection[str]) -> Rule:
    """The rule of this module for parameters of these local names: its own kind's, else the local product.

    A pruned or otherwise parametrised module has names that its kind's rule does not know.
    """
    rule = Rule.find(module)
    if rule is None and isinstance(module, nn.Embedding) and EmbeddingRule.supports(module):
        rule = LookupRule()
    return rule if rule is not None and rule.yields.issuperset(names) else LocalRule()
