"""What few models do, and what is easily forgotten: scores are exact all the same, or there is one clear error."""

import warnings

import peft
import pytest
import torch
import torch.nn.functional as F
import transformers as tf
from torch import nn
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm

import builders
import oracle
from sprachbund.errors import GradientError, SprachbundWarning
from sprachbund.gradients.pairwise import pairwise_influence

TRAIN, TEST = builders.examples(9, seed=1), builders.examples(5, seed=2)


class InPlace(nn.Module):
    """Writes into what its modules return."""

    def __init__(self, bias):
        super().__init__()
        self.embedding = nn.Embedding(builders.VOCABULARY, 8)
        self.norm = nn.LayerNorm(8)
        self.first, self.second = nn.Linear(8, 8, bias), nn.Linear(8, 8, bias)
        self.head = nn.Linear(8, builders.LABELS)

    def forward(self, input_ids, attention_mask, labels=None):
        hidden = self.embedding(input_ids)
        hidden *= 2.0
        hidden = self.norm(hidden).mul_(0.5)
        query, key = self.first(hidden), self.second(hidden)
        query /= 3.0
        key.masked_fill_(attention_mask[:, :, None] == 0, 0.0)
        logits = self.head((query.sigmoid_() * key).sum(1))
        return tf.modeling_outputs.SequenceClassifierOutput(
            loss=None if labels is None else F.cross_entropy(logits, labels), logits=logits
        )


@pytest.mark.parametrize("bias", [True, False])
def test_models_may_write_into_what_modules_return(bias):
    torch.manual_seed(0)
    model = InPlace(bias).double()
    train, test = builders.batches(TRAIN, 4), builders.batches(TEST, 5)
    with warnings.catch_warnings():
        warnings.simplefilter("error", SprachbundWarning)  # no slow path
        found = pairwise_influence(model, train, test)
    assert oracle.relative_error(found, oracle.influence(model, train, test)) < 1e-10


class WiderNorm(nn.Module):
    """Its norm is in a wider type than the rest, and hands the narrow one on."""

    def __init__(self, narrow, wide, is_cast, bias):
        super().__init__()
        self.embedding, self.head = nn.Embedding(builders.VOCABULARY, 8), nn.Linear(8, 3)
        self.norm = nn.LayerNorm(8, bias=bias)
        self.to(narrow)
        self.norm.to(wide)
        if is_cast:
            self.norm.register_forward_pre_hook(lambda _norm, given: (given[0].to(wide),))
            self.norm.register_forward_hook(lambda _norm, _given, output: output.to(narrow))

    def forward(self, input_ids, attention_mask, labels=None):
        hidden = self.norm(self.embedding(input_ids))
        share = attention_mask / attention_mask.sum(1, keepdim=True)
        logits = self.head((hidden * share[:, :, None].to(hidden.dtype)).sum(1))
        return tf.modeling_outputs.SequenceClassifierOutput(
            loss=None if labels is None else F.cross_entropy(logits, labels), logits=logits
        )


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("narrow", "wide", "is_cast", "tolerance"),
    [
        (torch.float32, torch.float64, True, 1e-5),
        (torch.bfloat16, torch.float32, True, 1e-2),
        (torch.bfloat16, torch.float32, False, 1e-2),
    ],
)
def test_norms_in_a_wider_type_than_the_model_are_as_exact_as_it(
    narrow, wide, is_cast, tolerance, bias
):
    torch.manual_seed(0)
    model = WiderNorm(narrow, wide, is_cast, bias)
    train, test = builders.batches(TRAIN, 4), builders.batches(TEST, 5)
    found = pairwise_influence(model, train, test)
    assert oracle.relative_error(found, oracle.influence(model, train, test)) < tolerance


def pruned(module):
    return prune.random_unstructured(module, "weight", 0.3)


REPARAMETRISED = {
    "pruned": (pruned, (nn.Linear, nn.LayerNorm)),
    "weight norm": (parametrizations.weight_norm, (nn.Linear,)),
    "weight norm by a hook": (weight_norm, (nn.Linear,)),
    "spectral norm by a hook": (spectral_norm, (nn.Linear,)),
}


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
@pytest.mark.parametrize("name", REPARAMETRISED)
def test_weights_that_are_computed_from_others_are_exact_and_not_slow(name):
    reparametrise, kinds = REPARAMETRISED[name]
    model = builders.xlm_roberta(torch.float64)
    for module in list(model.roberta.encoder.modules()):
        if type(module) in kinds:
            reparametrise(module)
    model.eval()
    train, test = builders.batches(TRAIN, 4), builders.batches(TEST, 5)
    with warnings.catch_warnings():
        warnings.simplefilter("error", SprachbundWarning)  # no slow path
        found = pairwise_influence(model, train, test)
    assert oracle.relative_error(found, oracle.influence(model, train, test)) < 1e-10


def test_a_pruned_embedding_is_exact():
    model = builders.xlm_roberta(torch.float64)
    pruned(model.roberta.embeddings.word_embeddings)
    train, test = builders.batches(TRAIN, 4), builders.batches(TEST, 5)
    with pytest.warns(SprachbundWarning, match=r"1 parameters .*word_embeddings.weight_orig"):
        found = pairwise_influence(model, train, test)
    assert oracle.relative_error(found, oracle.influence(model, train, test)) < 1e-10


def test_weights_that_a_detached_part_reads_too_are_exact_in_every_batch():
    """DoRA multiplies its adapters by an identity matrix, for a norm that counts as constant."""
    torch.manual_seed(0)
    model = peft.get_peft_model(
        builders.xlm_roberta(torch.float64),
        peft.LoraConfig(
            r=2, target_modules=["query"], use_dora=True, modules_to_save=["classifier"]
        ),
    )
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter += 0.1 * torch.randn_like(parameter)
    train, test = builders.batches(TRAIN, 9), builders.batches(TEST, 5)  # 32 features
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SprachbundWarning)
        found = pairwise_influence(model, train, test)
    assert oracle.relative_error(found, oracle.influence(model, train, test)) < 1e-10


class Rows(nn.Module):
    """Replaces the embeddings of a few tokens by rows of a table that nobody calls, as adapters of new words do."""

    def __init__(self, module):
        super().__init__()
        self.embedding = nn.Embedding(builders.VOCABULARY, 8)
        self.new = module
        self.head = nn.Linear(8, builders.LABELS)

    def forward(self, input_ids, attention_mask, labels=None):
        hidden = self.embedding(input_ids)
        if bool((input_ids >= 110).any()):
            one_hot = F.one_hot((input_ids - 110).clamp(min=0), 10).to(hidden.dtype)
            one_hot = one_hot * (input_ids >= 110)[:, :, None]
            hidden = hidden + one_hot @ self.new.weight
        logits = self.head((hidden.tanh() * attention_mask[:, :, None]).sum(1))
        return tf.modeling_outputs.SequenceClassifierOutput(
            loss=None if labels is None else F.cross_entropy(logits, labels), logits=logits
        )


@pytest.mark.parametrize("kind", [nn.Linear, nn.Embedding])
def test_what_is_first_used_outside_its_module_after_the_proof_is_an_error(kind):
    torch.manual_seed(0)
    module = nn.Linear(8, 10, bias=False) if kind is nn.Linear else nn.Embedding(10, 8)
    model = Rows(module).double()
    old = [{**row, "input_ids": row["input_ids"].clamp(max=109)} for row in TRAIN]
    first = torch.tensor([0])
    new = [{**row, "input_ids": row["input_ids"].index_fill(0, first, 112)} for row in old]
    without, with_new = [builders.collate(old)], [builders.collate(new)]
    with pytest.warns(SprachbundWarning, match=r"1 parameters .*new\.weight"):
        found = pairwise_influence(model, without, with_new)
    assert oracle.relative_error(found, oracle.influence(model, without, with_new)) < 1e-10
    with pytest.raises(GradientError, match=r"new\.weight do not add up"):
        pairwise_influence(model, with_new, without)


def test_attention_with_weights_of_its_own_is_not_slow():
    """Run again, it must not find its own keys in a cache."""
    torch.manual_seed(0)
    config = tf.GptOssConfig(
        **builders.SHAPE, num_key_value_heads=2, head_dim=8, num_local_experts=4, sliding_window=8
    )
    model = tf.GptOssForSequenceClassification(config)
    train, test = builders.batches(TRAIN, 4), builders.batches(TEST, 5)
    with warnings.catch_warnings():
        warnings.simplefilter("error", SprachbundWarning)  # no slow path
        found = pairwise_influence(model, train, test)
    assert oracle.relative_error(found, oracle.influence(model, train, test)) < 1e-5
    assert model.config.use_cache, "as it was"


def test_rows_that_a_model_repeats_for_each_example_are_exact_and_not_slow():
    """Prompt tuning does so with its learned prompt."""
    torch.manual_seed(0)
    config = peft.PromptTuningConfig(task_type="SEQ_CLS", num_virtual_tokens=5)
    model = peft.get_peft_model(builders.xlm_roberta(torch.float64), config)
    train, test = builders.batches(TRAIN, 4), builders.batches(TEST, 5)
    with warnings.catch_warnings():
        warnings.simplefilter("error", SprachbundWarning)  # no slow path
        found = pairwise_influence(model, train, test)
    assert oracle.relative_error(found, oracle.influence(model, train, test)) < 1e-10


def as_choices(rows):
    """Two texts an example, [B, 2, T], of which the label names one."""
    batch = builders.collate(rows)
    ids, mask = batch["input_ids"], batch["attention_mask"]
    other = (ids + 7).clamp(max=builders.VOCABULARY - 1).masked_fill(mask == 0, builders.PADDING)
    return {
        "input_ids": torch.stack([ids, other], 1),
        "attention_mask": torch.stack([mask, mask], 1),
        "labels": batch["labels"] % 2,
    }


def test_choices_that_are_rows_of_the_batch_are_exact_and_not_slow():
    torch.manual_seed(0)
    config = tf.BertConfig(**builders.SHAPE | dict(num_labels=1))
    model = tf.BertForMultipleChoice(config).double().eval()
    rows = [{**row, "input_ids": row["input_ids"].repeat(4)[:9]} for row in (*TRAIN, *TEST)]
    train, test = [as_choices(rows[:4]), as_choices(rows[4:9])], [as_choices(rows[9:])]
    with warnings.catch_warnings():
        warnings.simplefilter("error", SprachbundWarning)  # no slow path
        found = pairwise_influence(model, train, test)
    gradients = []
    for batch in (*test, *train):
        for position in range(len(batch["labels"])):
            one = {name: value[[position]] for name, value in batch.items()}
            parts = torch.autograd.grad(model(**one).loss, list(model.parameters()))
            gradients.append(torch.cat([part.flatten() for part in parts]))
    gradients_NP = torch.stack(gradients)
    assert oracle.relative_error(found, gradients_NP[:5] @ gradients_NP[5:].T) < 1e-10


def test_a_parameter_without_numbers_is_an_error():
    """As those are that are spread over processes: what the model computes with is elsewhere."""
    model = builders.xlm_roberta()
    model.spread = nn.Parameter(torch.empty(0))
    train, test = builders.batches(TRAIN, 4), builders.batches(TEST, 5)
    with pytest.raises(GradientError, match="spread holds no numbers"):
        pairwise_influence(model, train, test)
    scores = pairwise_influence(model, train, test, parameters=lambda name: name != "spread")
    assert scores.shape == (len(TEST), len(TRAIN))
