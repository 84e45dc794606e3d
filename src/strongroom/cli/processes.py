"""The commands that run a process until a signal; what each needs is loaded when it is called."""

import argparse
from collections.abc import Callable, Coroutine
from typing import Any

from strongroom.config import Home

Process = Callable[[Home], Coroutine[Any, Any, None]]


def run_api(options: argparse.Namespace) -> int:
    """Runs an API process."""
    from strongroom.app import serve_api

    host, port, metrics_port = options.host, options.port, options.metrics_port
    return _run(options, lambda home: serve_api(home, host, port, metrics_port))


def run_checkout(options: argparse.Namespace) -> int:
    """Runs a process of the page for customers."""
    from strongroom.cli.checkout import serve_checkout

    host, port, metrics_port = options.host, options.port, options.metrics_port
    return _run(options, lambda home: serve_checkout(home, host, port, metrics_port))


def run_worker(options: argparse.Namespace) -> int:
    """Runs a worker."""
    from strongroom.app import run_worker

    return _run(options, lambda home: run_worker(home, metrics_port=options.metrics_port))


def run_signer(options: argparse.Namespace) -> int:
    """Runs the signer of the logs."""
    from strongroom.cli.signer import run_signer

    return _run(options, lambda home: run_signer(home, options.metrics_port))


def _run(options: argparse.Namespace, process: Process) -> int:
    import uvloop

    from strongroom.process import refuse_root
    from strongroom.telemetry.logs import set_up_logs

    set_up_logs()
    home = Home(options.home)
    refuse_root(home.settings())
    uvloop.run(process(home))
    return 0
