"""Random walks over the public API, with several payments and several faults at once.

`python -m tests.faults.walks` goes on until so many processes were killed; docs/faults.md says how.
"""
