"""Paired, compute-matched ablations of non-text data in language-model training."""

__version__ = "0.1.0"
