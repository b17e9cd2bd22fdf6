"""The steps of make_embedded_model.py: texts, vocabulary, teacher and student."""
