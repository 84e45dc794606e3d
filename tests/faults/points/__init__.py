"""Every point of a flow of money × every fault: run, recover, judge.

`python -m tests.faults.points` (or `make faults`) tries all of them; docs/faults.md says how.
"""
