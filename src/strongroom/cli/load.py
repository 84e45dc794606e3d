"""`strongroom bench load`: plays many callers of a Strongroom and shows how it bears them."""

import argparse
import os
import sys
from typing import Final

from strongroom.config import ConfigurationError, Home
from strongroom.load.plan import LoadPlan, target_of
from strongroom.load.run import Sample, run
from strongroom.load.table import plain, summary, table, title

KEY_VARIABLE: Final = "STRONGROOM_API_KEY"
DEV_KEY: Final = "dev_api_key"
_UP_AND_CLEAR: Final = "\x1b[{}F\x1b[J"
"""To the beginning of so many lines above, and all below is cleared (ECMA-48: CPL, ED)."""


def bench_load(options: argparse.Namespace) -> int:
    """Runs the load; 0 when payments were accepted and every request was answered."""
    import uvloop

    plan = LoadPlan(
        url=options.url or Home(options.home).settings().api_url,
        api_key=api_key_of(options),
        clients=options.clients,
        seconds=options.seconds,
        payments_max=options.payments,
        rate=options.rate,
        bulk=options.bulk,
        instrument=not options.no_instrument,
        owned=options.i_own_this_deployment,
    )
    target_of(plan)  # refused before anything is shown
    screen = Screen(plan, live=sys.stdout.isatty())
    end = uvloop.run(run(plan, screen.show))
    screen.end(end)
    lost = end.statuses.keys() & {"lost", "unanswered"}
    return 0 if end.accepted and not lost else 1


class Screen:
    """Shows samples: on a terminal in one place, elsewhere line by line."""

    def __init__(self, plan: LoadPlan, *, live: bool) -> None:
        self._plan = plan
        self._live = live
        self._lines = 0
        if not live:
            print(title(plan), flush=True)

    def show(self, sample: Sample) -> None:
        """How the run stands now."""
        if not self._live:
            print(plain(sample), flush=True)
            return
        self._clear()
        lines = table(self._plan, sample)
        width = os.get_terminal_size(sys.stdout.fileno()).columns or 80
        # A line that wraps would be two, and the next table would begin too low.
        print("\n".join(line[: width - 1] for line in lines), flush=True)
        self._lines = len(lines)

    def end(self, sample: Sample) -> None:
        """How the run went."""
        self._clear()
        if self._live:
            print(title(self._plan))
        print("\n".join(["", *summary(self._plan, sample)]), flush=True)

    def _clear(self) -> None:
        if self._lines:
            print(_UP_AND_CLEAR.format(self._lines), end="")
            self._lines = 0


def api_key_of(options: argparse.Namespace) -> str:
    """The key: of a file, of the environment, or of the home's own development key."""
    if options.key_file is not None:
        if options.key_file.stat().st_mode & 0o077:
            raise ConfigurationError(
                f"{options.key_file} can be read by others: run `chmod 600 {options.key_file}`."
            )
        text: str = options.key_file.read_text("utf-8").strip()
        return text
    if KEY_VARIABLE in os.environ:
        return os.environ[KEY_VARIABLE].strip()
    home = Home(options.home)
    if home.has_secret(DEV_KEY):
        return home.secret(DEV_KEY)
    raise ConfigurationError(f"an API key is needed: --key-file, or {KEY_VARIABLE}.")
