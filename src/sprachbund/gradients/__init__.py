"""Per-example gradients of any transformer, contracted with a bank of test gradients.

Knows torch and nothing of languages.
"""
