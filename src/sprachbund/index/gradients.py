"""Sketches of a batch's gradients: what training examples are stored as, and what queries are compared by."""

import torch
from torch import Tensor

from sprachbund.gradients.batches import Batch, batch_size
from sprachbund.gradients.engine import GradientEngine
from sprachbund.gradients.per_example import PerExampleGradient
from sprachbund.gradients.scoring import check_norms
from sprachbund.index.sketch import SignSketch


def sketch_batch(engine: GradientEngine, sketch: SignSketch, batch: Batch) -> tuple[Tensor, Tensor]:
    """Sketches [B, D] of a batch's gradients over all parameters, and their exact norms [B]; float32, on the CPU."""
    size = batch_size(batch)
    sketch_BD = torch.zeros(size, sketch.dimension, device=engine.device)
    squared_norm_B = torch.zeros(size, dtype=torch.float64, device=engine.device)

    def compress(name: str, gradient: PerExampleGradient) -> None:
        nonlocal squared_norm_B
        squared_norm_B += sketch.add_to(sketch_BD, name, gradient)

    engine.per_example(batch, compress)
    check_norms(squared_norm_B, "sketched")
    return sketch_BD.cpu(), squared_norm_B.sqrt().float().cpu()
