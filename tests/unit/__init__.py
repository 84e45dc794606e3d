"""Tests of single nouns, most of them without I/O."""
