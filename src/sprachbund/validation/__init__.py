"""Checks of influence against what really happens when the model is trained again."""
