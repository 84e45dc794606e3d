"""What a process tells of itself, as its settings have it."""

from strongroom.clock import Clock
from strongroom.config import Settings
from strongroom.telemetry.port import NO_TELEMETRY, NoTelemetry


def telemetry_of(
    settings: Settings, clock: Clock, service: str, metrics_port: int | None
) -> NoTelemetry:
    """What the settings ask for; what is not asked for is not even loaded."""
    if not settings.telemetry:
        return NO_TELEMETRY
    from strongroom.telemetry.reporting import Telemetry

    traces = None
    if settings.traces_url is not None:
        from strongroom.telemetry.traces import Traces

        one_in = settings.traces_one_in
        traces = Traces(settings.traces_url, one_in=one_in, service=service, clock=clock)
    deadline_seconds = settings.gateway_deadline_seconds
    return Telemetry(clock, deadline_seconds=deadline_seconds, port=metrics_port, traces=traces)
