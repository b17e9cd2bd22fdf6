"""Every architecture, with and without adapters: scores equal autograd one example at a time, on the own loss."""

import warnings

import pytest
import torch
from peft import LoraConfig, get_peft_model

import builders
import oracle
from architectures import ARCHITECTURES, collate, is_language_model
from sprachbund.errors import SprachbundWarning
from sprachbund.gradients.engine import GradientEngine
from sprachbund.gradients.losses import TaskLoss
from sprachbund.gradients.pairwise import pairwise_influence

# Longformer's queries, keys and values come with the tokens first.
DIFFERENTIATED_ONE_BY_ONE = {("longformer", "whole"): 17, ("longformer", "lora"): 4}
SINGLE = torch.float32
TOLERANCE = {"single": 1e-5, "double": 1e-10}


@pytest.fixture(params=["single", "double"])
def precision(request, monkeypatch):
    """In double precision nothing may be computed in single: many models narrow their norms on purpose."""
    if request.param == "double":
        for name in ("float32", "float"):
            monkeypatch.setattr(torch, name, torch.float64)
        monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
        torch.set_default_dtype(torch.float64)
    yield request.param
    torch.set_default_dtype(SINGLE)


def with_lora(model, adapted: str):
    """Low-rank adapters on some linear maps, with weights that let gradients through; the head stays trainable."""
    heads = [name for name, _ in model.named_children() if name in ("classifier", "score", "head")]
    config = LoraConfig(r=2, target_modules=rf".*\b({adapted})", modules_to_save=heads or None)
    model = get_peft_model(model, config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter += 0.1 * torch.randn_like(parameter)
    return model


@pytest.fixture(params=["whole", "lora"])
def adapter(request):
    return request.param


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_scores_equal_autograd_one_example_at_a_time(name, adapter, precision):
    architecture = ARCHITECTURES[name]
    model = architecture.model(torch.get_default_dtype())
    if adapter == "lora":
        model = with_lora(model, architecture.adapted)
    rows = builders.examples(7, seed=1)
    train = [collate(rows[:4], name), collate(rows[4:], name)]
    test = [collate(builders.examples(5, seed=2), name)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SprachbundWarning)
        dot = pairwise_influence(model, train, test)
        cosine = pairwise_influence(model, train, test, "cosine")
    test_MP, train_NP = oracle.gradients(model, test), oracle.gradients(model, train)
    expected = test_MP @ train_NP.T
    norms = test_MP.norm(dim=1)[:, None] * train_NP.norm(dim=1)[None, :]
    assert float(norms.min()) > 0, "the oracle must see a gradient for every example"
    assert oracle.relative_error(dot, expected) < TOLERANCE[precision]
    assert oracle.relative_error(cosine, expected / norms) < TOLERANCE[precision]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_nothing_but_tokens_first_is_differentiated_one_by_one(name, adapter):
    architecture = ARCHITECTURES[name]
    model = architecture.model(torch.float32)
    if adapter == "lora":
        model = with_lora(model, architecture.adapted)
    with warnings.catch_warnings(), GradientEngine(model) as engine:
        warnings.simplefilter("ignore", SprachbundWarning)
        engine.per_example(collate(builders.examples(5, seed=2), name), lambda _name, _value: None)
        expected = DIFFERENTIATED_ONE_BY_ONE.get((name, adapter), 0)
        assert len(engine.parameters_by_autograd) == expected


@pytest.mark.parametrize("name", [name for name in ARCHITECTURES if is_language_model(name)])
def test_token_losses_are_the_models_own(name):
    """The oracle differentiates what the model computes for a batch of one."""
    model = ARCHITECTURES[name].model(torch.float32).eval()
    batch = collate(builders.examples(3, seed=4), name)
    for position in range(3):
        alone = oracle.alone(batch, position)
        torch.testing.assert_close(TaskLoss()(model, alone)[0], model(**alone).loss)


@pytest.mark.parametrize("experts", ["grouped_mm", "batched_mm"])
def test_experts_by_the_kernels_that_users_get(experts):
    """The suite above takes the plain loop over experts, as the default kernels know no double precision."""
    model = ARCHITECTURES["mixtral"].model(torch.float32)
    model.set_experts_implementation(experts)
    assert model.config._experts_implementation == experts
    train, test = (collate(builders.examples(n, seed=n), "mixtral") for n in (7, 5))
    with warnings.catch_warnings():
        warnings.simplefilter("error", SprachbundWarning)  # no slow path
        found = pairwise_influence(model, [train], [test])
    assert oracle.relative_error(found, oracle.influence(model, [train], [test])) < 1e-5
