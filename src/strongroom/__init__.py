"""Strongroom: a payments backend that is secure by design."""

__version__ = "0.1.0"
