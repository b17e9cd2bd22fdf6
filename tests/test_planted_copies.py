"""A check that must hold on the demonstration's data and model: what was planted is found.

Copies of test items and their translations are put among the training items. By cosine the copy must rank among the
first proponents, and the translations far above chance.
"""

import numpy as np
import pandas as pd
import pytest

from sprachbund.attribution import AttributionConfig, attribute
from sprachbund.data.corpus import Corpus
from sprachbund.data.sampling import sample
from sprachbund.embedded.emoji import emoji_corpus
from sprachbund.embedded.model import unpack_model
from sprachbund.finetuning import FinetuningConfig, finetune
from sprachbund.influence import Influence
from sprachbund.modeling import ModelConfig

TRAINED = ("en", "de", "fr", "ru", "es")
ZERO_SHOT = ("ko", "ar")
ITEMS, PLANTED = 60, 12


def planted_corpora() -> tuple[Corpus, Corpus]:
    """Training: 60 items in five languages and 12 test items planted among them. Test: these 12, in seven."""
    corpus = emoji_corpus((*TRAINED, *ZERO_SHOT))
    train = sample(corpus, split="train", languages=TRAINED, per_language=ITEMS, seed=0)
    test = sample(
        corpus, split="test", languages=(*TRAINED, *ZERO_SHOT), per_language=PLANTED, seed=0
    )
    copies = test.frame[test.frame["language"].isin(TRAINED)].assign(
        split="train", id=lambda rows: "planted-" + rows["id"]
    )
    rows = pd.concat([train.frame, copies], ignore_index=True)
    return Corpus(rows, corpus.labels, "train with planted copies"), test


@pytest.fixture(scope="module")
def influence(tmp_path_factory) -> Influence:
    folder = tmp_path_factory.mktemp("planted")
    train, test = planted_corpora()
    model = ModelConfig(path=str(unpack_model(folder / "model")), max_length=32)
    config = FinetuningConfig(epochs=2, learning_rate=5e-4, batch_size=16)
    run = finetune(model, config, train, None, folder / "run", 0)
    return attribute(
        run, train, test, folder / "influence.zarr", config=AttributionConfig(), max_length=32
    )


def ranks(
    influence: Influence, *, same_language: bool, test_languages: tuple[str, ...]
) -> np.ndarray:
    """Rank (from 1) of each planted row of a test example's item, in its language or in the others."""
    scores = influence.total()
    found = []
    for row in range(scores.sizes["test"]):
        at = scores.isel(test=row)
        if str(at["test_language"].item()) not in test_languages:
            continue
        order = np.argsort(-at.values, kind="stable")
        rank_of = np.empty(len(order), dtype=int)
        rank_of[order] = np.arange(1, len(order) + 1)
        same_item = scores["train_item"].values == at["test_item"].item()
        is_own = scores["train_language"].values == at["test_language"].item()
        found.extend(rank_of[same_item & (is_own if same_language else ~is_own)])
    return np.array(found)


@pytest.mark.slow
def test_a_planted_copy_is_among_the_first_proponents_and_its_translations_far_above_chance(
    influence,
):
    n_train = influence.dataset.sizes["train"]
    copies = ranks(influence, same_language=True, test_languages=TRAINED)
    translations = ranks(influence, same_language=False, test_languages=TRAINED)
    zero_shot = ranks(influence, same_language=False, test_languages=ZERO_SHOT)
    print(
        f"\nmedian rank of {n_train}: copy {np.median(copies):.0f}, "
        f"translations {np.median(translations):.0f}, for zero-shot languages {np.median(zero_shot):.0f}"
    )
    assert len(copies) == PLANTED * 5
    assert len(translations) == PLANTED * 5 * 4
    assert np.median(copies) == 1
    assert (copies <= 10).mean() > 0.95, (
        "a copy has cosine 1 with its test example at every checkpoint"
    )
    by_chance = (n_train + 1) / 2
    assert np.median(translations) < by_chance / 4
    assert np.median(zero_shot) < by_chance / 2


@pytest.mark.slow
def test_the_cosine_of_a_copy_is_one(influence):
    scores = influence.at(influence.checkpoints[-1])
    for row in range(scores.sizes["test"]):
        at = scores.isel(test=row)
        is_copy = scores["train"].values == f"planted-{at['test'].item()}"
        if is_copy.any():
            assert at.values[is_copy] == pytest.approx(1.0, abs=1e-5)
