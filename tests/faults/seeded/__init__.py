"""Bugs that are put into the product on purpose, each of which one named test has to catch.

`python -m tests.faults.seeded` (or `make seeded`) tries all of them; docs/faults.md says how.
"""
