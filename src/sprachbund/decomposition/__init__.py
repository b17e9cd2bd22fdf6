"""Influence taken apart: by groups of parameters, and without each language's mean gradient."""
