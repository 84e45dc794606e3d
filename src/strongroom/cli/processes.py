"""The commands that run a process until a signal; what each needs is loaded when it is called."""

import argparse
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from strongroom.config import Home

Process = Callable[[Home], Coroutine[Any, Any, None]]


def run_api(options: argparse.Namespace) -> int:
    """Runs an API process."""
    from strongroom.app import serve_api

    host, port, metrics_port = options.host, options.port, options.metrics_port
    serve = partial(serve_api, host=host, port=port, metrics_port=metrics_port)
    return _run(options, serve, moves_money=True)


def run_checkout(options: argparse.Namespace) -> int:
    """Runs a process of the page for customers."""
    from strongroom.cli.checkout import serve_checkout

    host, port, metrics_port = options.host, options.port, options.metrics_port
    serve = partial(serve_checkout, host=host, port=port, metrics_port=metrics_port)
    return _run(options, serve, moves_money=True)


def run_worker(options: argparse.Namespace) -> int:
    """Runs a worker."""
    from strongroom.app import run_worker

    return _run(options, lambda home: run_worker(home, metrics_port=options.metrics_port))


def run_signer(options: argparse.Namespace) -> int:
    """Runs the signer of the logs."""
    from strongroom.cli.signer import run_signer

    return _run(options, lambda home: run_signer(home, options.metrics_port))


def _run(options: argparse.Namespace, process: Process, *, moves_money: bool = False) -> int:
    import uvloop

    from strongroom.process import refuse_unsafe
    from strongroom.telemetry.logs import set_up_logs
    from strongroom.work.lasting import with_its_parts

    set_up_logs()
    home = Home(options.home)
    refuse_unsafe(home.settings(), moves_money=moves_money)
    uvloop.run(with_its_parts(process(home)))
    return 0
