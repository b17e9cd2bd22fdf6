"""The default loss of an example: the model's own, of classes, tokens or answers, whatever stands beside its tokens."""

import warnings

import peft
import pytest
import torch
import transformers as tf
from torch import nn

import builders
import oracle
from sprachbund.errors import GradientError, SprachbundWarning
from sprachbund.gradients.losses import TaskLoss
from sprachbund.gradients.pairwise import pairwise_influence

TRAIN, TEST = builders.examples(9, seed=1), builders.examples(5, seed=2)


def as_language_model(rows, left=False):
    """Every token is a label."""
    batch = builders.collate(rows)
    if left:
        shift = batch["attention_mask"].shape[1] - batch["attention_mask"].sum(1)
        for name in ("input_ids", "attention_mask"):
            rolled = [row.roll(int(n)) for row, n in zip(batch[name], shift, strict=True)]
            batch[name] = torch.stack(rolled)
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    return batch | {"labels": labels}


def test_an_auxiliary_loss_is_an_error_however_small_it_is():
    torch.manual_seed(0)
    config = tf.MixtralConfig(
        **builders.SHAPE,
        num_key_value_heads=2,
        head_dim=8,
        num_local_experts=4,
        output_router_logits=True,  # with the default coefficient, 0.001
    )
    model = tf.MixtralForCausalLM(config)
    train, test = as_language_model(TRAIN), as_language_model(TEST)
    with pytest.raises(GradientError, match=r"auxiliary loss.*switch it off"):
        pairwise_influence(model, [train], [test])


def test_a_decoder_that_leaves_the_shift_to_who_makes_the_labels_is_exact():
    torch.manual_seed(0)
    config = tf.BartConfig(
        vocab_size=builders.VOCABULARY,
        d_model=32,
        decoder_layers=1,
        decoder_attention_heads=4,
        decoder_ffn_dim=48,
        max_position_embeddings=64,
        pad_token_id=builders.PADDING,
    )
    model = tf.BartForCausalLM(config).double()
    train, test = as_language_model(TRAIN), as_language_model(TEST)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SprachbundWarning)
        found = pairwise_influence(model, [train], [test])
    assert oracle.relative_error(found, oracle.influence(model, [train], [test])) < 1e-10


def test_a_language_model_is_taken_by_its_name_where_its_loss_does_not_tell():
    """With a head of zeros every token is as likely as any other, and every reading of the labels gives the same."""
    model = llama_lm()
    nn.init.zeros_(model.lm_head.weight)
    train, test = as_language_model(TRAIN), as_language_model(TEST)
    found = pairwise_influence(model, [train], [test])
    assert oracle.relative_error(found, oracle.influence(model, [train], [test])) < 1e-5


def llama_lm():
    torch.manual_seed(0)
    return tf.LlamaForCausalLM(tf.LlamaConfig(**builders.SHAPE, num_key_value_heads=2, head_dim=8))


def test_a_label_that_only_padding_on_the_left_could_predict_does_not_count():
    model = llama_lm()
    right, left = (
        pairwise_influence(
            model, [as_language_model(TRAIN, left=side)], [as_language_model(TEST, left=side)]
        )
        for side in (False, True)
    )
    batches = [[as_language_model(rows)] for rows in (TRAIN, TEST)]
    expected = oracle.influence(model, *batches)
    assert oracle.relative_error(right, expected) < 1e-5
    assert oracle.relative_error(left, expected) < 1e-5


def products_one_by_one(model, alone):
    """Inner products of the gradients of the model's own loss, each batch of one with each."""
    model.eval()
    losses = (model(**one).loss for one in alone)
    parameters = list(model.parameters())
    gradients_NP = torch.stack(
        [
            torch.cat(
                [g.flatten() for g in torch.autograd.grad(loss, parameters, materialize_grads=True)]
            )
            for loss in losses
        ]
    )
    return gradients_NP @ gradients_NP.T


def test_boxes_are_cut_with_their_tokens():
    """Of each token of a page: [B, T, 4]; what the attention mask leaves out has none."""
    torch.manual_seed(0)
    model = tf.LayoutLMForSequenceClassification(tf.LayoutLMConfig(**builders.SHAPE)).double()
    train, test = (builders.collate(rows) for rows in (TRAIN, TEST))
    for batch in (train, test):
        corner = batch["input_ids"][..., None]
        batch["bbox"] = torch.cat([corner, corner, corner + 5, corner + 5], 2)
    found = pairwise_influence(model, [train], [test])
    assert oracle.relative_error(found, oracle.influence(model, [train], [test])) < 1e-10


def test_as_many_classes_as_tokens_are_no_tokens():
    """Several labels an example, [B, C], where the longest text has C tokens."""
    longest = max(len(row["input_ids"]) for row in TRAIN)
    model = builders.xlm_roberta(torch.float64, num_labels=longest)
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 2, (len(TRAIN), longest), generator=generator).double()
    together = builders.collate(TRAIN) | {"labels": labels}
    alone = [
        builders.collate([row]) | {"labels": label[None]}
        for row, label in zip(TRAIN, labels, strict=True)
    ]
    found = pairwise_influence(model, [together], [together])
    assert oracle.relative_error(found, products_one_by_one(model, alone)) < 1e-10


def as_answers(rows):
    batch = builders.collate(rows)
    del batch["labels"]
    last = batch["attention_mask"].sum(1) - 1
    return batch | {"start_positions": last // 2, "end_positions": last}


def test_answers_in_a_text_are_exact():
    torch.manual_seed(0)
    model = (
        tf.XLMRobertaForQuestionAnswering(tf.XLMRobertaConfig(**builders.SHAPE | {"num_labels": 2}))
        .double()
        .eval()
    )
    batch, alone = as_answers(TRAIN), [as_answers([row]) for row in TRAIN]
    found = pairwise_influence(model, [batch], [batch])
    assert oracle.relative_error(found, products_one_by_one(model, alone)) < 1e-10


def test_an_answer_that_was_cut_off_is_an_error():
    model = tf.XLMRobertaForQuestionAnswering(
        tf.XLMRobertaConfig(**builders.SHAPE | {"num_labels": 2})
    )
    batch = as_answers(TRAIN)
    batch["end_positions"][2] = 700
    with pytest.raises(GradientError, match=r"ends at token 700 of \d+: it was cut off"):
        pairwise_influence(model, [batch], [batch])


def test_a_learned_prompt_before_a_language_model_has_no_labels():
    torch.manual_seed(0)
    config = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=5)
    model = peft.get_peft_model(llama_lm().double(), config)
    train, test = as_language_model(TRAIN), as_language_model(TEST)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SprachbundWarning)
        found = pairwise_influence(model, [train], [test])
    # The first token's label is predicted, from the prompt.
    assert oracle.relative_error(found, oracle.influence(model, [train], [test])) < 1e-6


def test_the_shift_is_read_right_in_half_precision():
    """Logits that know nothing yet give both readings nearly the same loss."""
    model = llama_lm().to(torch.bfloat16)
    with torch.no_grad():
        model.lm_head.weight *= 0.05
    train, test = as_language_model(TRAIN), as_language_model(TEST)
    found = pairwise_influence(model, [train], [test])
    assert oracle.relative_error(found, oracle.influence(model, [train], [test])) < 0.05


def test_adapters_in_single_precision_on_a_model_in_half_are_not_slow():
    """As PEFT makes them: what goes into them has three digits."""
    torch.manual_seed(0)
    model = peft.get_peft_model(
        llama_lm().to(torch.bfloat16),
        peft.LoraConfig(task_type="CAUSAL_LM", r=4, target_modules=["q_proj", "v_proj"]),
    )
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter += 0.1 * torch.randn_like(parameter)
    assert {p.dtype for p in model.parameters() if p.requires_grad} == {torch.float32}
    train, test = as_language_model(TRAIN), as_language_model(TEST)
    with warnings.catch_warnings():
        warnings.simplefilter("error", SprachbundWarning)  # no slow path
        found = pairwise_influence(model, [train], [test])
    assert oracle.relative_error(found, oracle.influence(model, [train], [test])) < 0.05


def test_a_model_without_logits_needs_a_loss():
    torch.manual_seed(0)
    model = tf.BertForQuestionAnswering(tf.BertConfig(**builders.SHAPE | dict(num_labels=2)))

    batch = builders.collate(TRAIN)
    with pytest.raises(GradientError, match=r"no logits: pass loss="):
        pairwise_influence(model, [batch], [batch])


def test_a_default_loss_that_somebody_changed_is_their_own():
    class Twice(TaskLoss):
        def __call__(self, model, batch):
            return 2 * super().__call__(model, batch)

    model = builders.xlm_roberta().double()
    train, test = builders.batches(TRAIN, 4), builders.batches(TEST, 5)
    found = pairwise_influence(model, train, test, loss=Twice())
    expected = 4 * oracle.influence(model, train, test)
    assert oracle.relative_error(found, expected) < 1e-10
