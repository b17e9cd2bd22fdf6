"""The demonstration: a real study on what the package carries, with no network."""

from pathlib import Path

from sprachbund.analysis.config import AnalysisConfig
from sprachbund.configuration import LanguagesConfig, StudyConfig
from sprachbund.data.config import DataConfig
from sprachbund.embedded.model import unpack_model
from sprachbund.finetuning import FinetuningConfig
from sprachbund.modeling import ModelConfig
from sprachbund.study import Study
from sprachbund.study.observer import Observer


def demo_study(folder: Path, observer: Observer | None = None) -> Study:
    """Names of emoji in seven languages, to be sorted into Unicode's groups, by a small pre-trained model.

    Fine-tuned on English, German, French, Russian and Spanish together; Korean and Arabic are zero-shot.
    """
    config = StudyConfig(
        model=ModelConfig(path=str(unpack_model(folder / "model")), max_length=32),
        data=DataConfig.model_validate({"embedded": "emoji"}),
        languages=LanguagesConfig(
            train=("en", "de", "fr", "ru", "es"),
            test=("en", "de", "fr", "ru", "es", "ko", "ar"),
        ),
        train_per_language=200,
        test_per_language=10,
        evaluation_per_language=200,
        finetuning=FinetuningConfig(epochs=3, learning_rate=5e-4, batch_size=16),
        analysis=AnalysisConfig(k=100),
    )
    return Study(config, folder, base=folder, observer=observer)
