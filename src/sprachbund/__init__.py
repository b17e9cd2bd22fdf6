"""Whose data does each language of a fine-tuned multilingual model rely on?"""

__version__ = "0.1.0"
