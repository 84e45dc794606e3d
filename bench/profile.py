"""`python -m bench.profile accept|bulk|settle`: where an event loop spends its time.

Runs one measurement with the API, or the worker, under cProfile and prints its costliest
functions. The profiler itself costs a lot, so only the proportions mean something.
"""

import argparse
import cProfile
import pstats
import sys
from pathlib import Path
from typing import Final

from bench import sleeping_worker
from bench.cluster import PLACE, running_server
from bench.measures import QUICK, accept, bulk, settle

FILE: Final = PLACE / "profile.out"
LINES: Final = 45


def main() -> int:
    """Measures under the profiler; or, as `python -m bench.profile run …`, is what is measured."""
    if sys.argv[1:2] == ["run"]:
        return _run(sys.argv[2:])
    parser = argparse.ArgumentParser(prog="python -m bench.profile", description=__doc__)
    parser.add_argument("what", choices=("accept", "bulk", "settle"))
    parser.add_argument("--sort", default="tottime", choices=("tottime", "cumtime"))
    options = parser.parse_args()
    with running_server() as server:
        if options.what != "settle":
            measure = accept if options.what == "accept" else bulk
            outcome = measure(server, QUICK, ["bench.profile", "run", "strongroom"])
        else:
            outcome = settle(server, QUICK, ["bench.profile", "run", "sleeping_worker"])
        print(outcome.figures)
        pstats.Stats(str(FILE)).sort_stats(options.sort).print_stats(LINES)
    return 0


def _run(arguments: list[str]) -> int:
    from strongroom import cli

    profiler = cProfile.Profile()
    name, *rest = arguments
    try:
        if name == "sleeping_worker":
            return profiler.runcall(sleeping_worker.run, Path(rest[0]), Path(rest[1]))
        return profiler.runcall(cli.main, rest)
    finally:
        profiler.dump_stats(FILE)


if __name__ == "__main__":
    sys.exit(main())
