"""Measures Strongroom on one machine; `python -m bench` prints a table and writes the figures."""
