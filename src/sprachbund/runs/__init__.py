"""Any output folder of the Hugging Face Trainer: its checkpoints, their exact learning rates, what is damaged."""

from sprachbund.runs.rate_recorder import LearningRateRecorder
from sprachbund.runs.run import Checkpoint, Run, checkpoint_folders

__all__ = ["Checkpoint", "LearningRateRecorder", "Run", "checkpoint_folders"]
