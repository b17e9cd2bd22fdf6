"""Sweeps over the mix of languages: more or less of one, one left out, each alone, all pairs."""
