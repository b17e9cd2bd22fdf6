"""The oracle: autograd, one example at a time, on the unpadded example and the model's own loss. Shares no code."""

import torch


def alone(batch: dict[str, torch.Tensor], position: int) -> dict[str, torch.Tensor]:
    """One example without its padding."""
    length = int(batch["attention_mask"][position].sum())
    one = {name: value[position : position + 1] for name, value in batch.items()}
    return {name: v[:, :length] if v.dim() > 1 else v for name, v in one.items()}


def gradient(model, batch, position, wanted=lambda name: True) -> torch.Tensor:
    """The flat gradient of one example's own loss in every trainable parameter."""
    chosen = [p for n, p in model.named_parameters() if p.requires_grad and wanted(n)]
    loss = model(**alone(batch, position)).loss
    parts = torch.autograd.grad(loss, chosen, materialize_grads=True)
    return torch.cat([part.double().flatten() for part in parts])


def gradients(model, batches, wanted=lambda name: True) -> torch.Tensor:
    """[examples, parameters] float64."""
    was_training = model.training
    model.eval()
    rows = [
        gradient(model, batch, position, wanted)
        for batch in batches
        for position in range(len(batch["labels"]))
    ]
    model.train(was_training)
    return torch.stack(rows)


def influence(model, train, test, similarity="dot", wanted=lambda name: True) -> torch.Tensor:
    test_MP, train_NP = gradients(model, test, wanted), gradients(model, train, wanted)
    if similarity == "cosine":
        test_MP = test_MP / test_MP.norm(dim=1, keepdim=True)
        train_NP = train_NP / train_NP.norm(dim=1, keepdim=True)
    return test_MP @ train_NP.T


def relative_error(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found.double() - expected).norm() / expected.norm())
