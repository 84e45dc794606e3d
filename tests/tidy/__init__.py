"""The checks behind tests/test_tidy.py: each takes files and returns findings."""
