"""A made-up study to report on: words in several scripts, planted influence, any languages."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from sprachbund.influence import Influence
from sprachbund.report import ReportData, Results
from sprachbund.report.numbers import Numbers

WORDS = {
    "en": ("water", "house", "book", "sun", "tree", "bread"),
    "de": ("Wasser", "Haus", "Buch", "Sonne", "Baum", "Brot"),
    "fr": ("eau", "maison", "livre", "soleil", "arbre", "pain"),
    "ru": ("вода", "дом", "книга", "солнце", "дерево", "хлеб"),
    "es": ("agua", "casa", "libro", "sol", "árbol", "pan"),
    "ko": ("물", "집", "책", "해", "나무", "빵"),
    "ar": ("ماء", "بيت", "كتاب", "شمس", "شجرة", "خبز"),
    "he": ("מים", "בית", "ספר", "שמש", "עץ", "לחם"),
    "fa": ("آب", "خانه", "کتاب", "خورشید", "درخت", "نان"),
    "ur": ("پانی", "گھر", "کتاب", "سورج", "درخت", "روٹی"),
}
TRAIN = ("en", "de", "fr", "ru", "ar")
TEST = ("en", "de", "fr", "ru", "ar", "ko", "he", "fa", "ur")
LABELS = ("nature", "made")
STEPS = (0, 4, 8, 12)


def made_up(
    train: Sequence[str] = TRAIN,
    test: Sequence[str] = TEST,
    *,
    seeds: Sequence[int] = (0,),
    k: int = 6,
    method: str = "tracin-cosine",
    **changes: Any,
) -> ReportData:
    """A report's data, its `Influence` results in memory; `changes` replace fields."""
    fields: dict[str, Any] = {
        "title": "Words in many scripts",
        "model": "a-small-encoder",
        "influences": {seed: influence(train, test, seed=seed, method=method) for seed in seeds},
        "accuracy": accuracy(test, seeds),
        "k": k,
        "configuration": "model: a-small-encoder\n",
        "environment": {"python": "3.11"},
    }
    return ReportData(**fields | changes)


def numbers_with(**tables: pd.DataFrame) -> Numbers:
    """The numbers of a study of English and German, with Korean zero-shot, and these tables alone."""
    return Numbers(made_up(("en", "de"), ("en", "de", "ko"), k=3, results=Results(tables)))


def influence(
    train: Sequence[str],
    test: Sequence[str],
    *,
    seed: int = 0,
    method: str = "tracin-cosine",
    parallel: bool = True,
    texts: dict[str, Sequence[str]] | None = None,
    text_pair: str = "",
) -> Influence:
    """Gaussian scores, raised where the languages agree; the first two test items were trained on."""
    generator = np.random.default_rng(seed)
    words = {language: WORDS.get(language, WORDS["en"]) for language in (*train, *test)}
    words |= texts or {}
    sides = {
        "train": [(language, item) for language in train for item in range(6)],
        "test": [(language, item) for language in test for item in range(4)],
    }
    coords: dict[str, Any] = {
        "checkpoint": list(STEPS),
        "epoch": ("checkpoint", np.arange(len(STEPS), dtype=float)),
        "learning_rate": ("checkpoint", [0.0, 0.3, 0.2, 0.1]),
    }
    for side, rows in sides.items():
        columns = {
            "language": [language for language, _ in rows],
            "item": [f"item-{item}" if parallel else "" for _, item in rows],
            "group": ["" for _ in rows],
            "label": [LABELS[item % 2] for _, item in rows],
            "text": [words[language][item] for language, item in rows],
            "text_pair": [text_pair for _ in rows],
        }
        coords[side] = np.array([f"{side}-{tag}-{item}" for tag, item in rows], dtype=object)
        for name, values in columns.items():
            coords[f"{side}_{name}"] = (side, np.array(values, dtype=object))
    shape = (len(STEPS), len(sides["test"]), len(sides["train"]))
    agree = coords["test_language"][1][:, None] == coords["train_language"][1][None]
    prediction = generator.choice(np.array(LABELS, dtype=object), shape[:2])
    return Influence(
        xr.Dataset(
            {
                "influence": (
                    ("checkpoint", "test", "train"),
                    (generator.normal(size=shape) + agree).astype(np.float32),
                ),
                "test_prediction": (("checkpoint", "test"), prediction),
                "test_loss": (
                    ("checkpoint", "test"),
                    generator.uniform(0.2, 1, shape[:2]).astype(np.float32),
                ),
                "test_probability": (
                    ("checkpoint", "test"),
                    generator.uniform(0.5, 1, shape[:2]).astype(np.float32),
                ),
            },
            coords=coords,
            attrs={
                "method": method,
                "labels": list(LABELS),
                "provenance": json.dumps({"model": "a-small-encoder", "seed": seed}),
            },
        )
    )


def accuracy(languages: Sequence[str], seeds: Sequence[int]) -> pd.DataFrame:
    """Accuracy that rises, by seed, checkpoint and language."""
    return pd.DataFrame(
        [
            {
                "seed": seed,
                "checkpoint": step,
                "epoch": float(position),
                "language": language,
                "n": 100,
                "accuracy": 0.5 + 0.1 * position + 0.004 * place + 0.02 * seed,
                "loss": 1.0 - 0.2 * position,
            }
            for seed in seeds
            for position, step in enumerate(STEPS)
            for place, language in enumerate(languages)
        ]
    )
