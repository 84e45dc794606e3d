"""Ways to ask whether a child is ready."""

import asyncio
from pathlib import Path

from strongroom.local.ports import LOOPBACK

_PROBE_SECONDS_MAX = 5.0
_STATUS_LINE_BYTES_MAX = 256
_LOG_BYTES_MAX = 65_536


async def answers_ok(port: int, path: str) -> bool:
    """Whether GET http://127.0.0.1:`port``path` is answered with status 200."""
    try:
        async with asyncio.timeout(_PROBE_SECONDS_MAX):
            reader, writer = await asyncio.open_connection(
                LOOPBACK, port, limit=_STATUS_LINE_BYTES_MAX
            )
            try:
                request = f"GET {path} HTTP/1.1\r\nHost: {LOOPBACK}:{port}\r\n"
                writer.write(f"{request}Connection: close\r\n\r\n".encode("ascii"))
                status_line = await reader.readline()
            finally:
                writer.close()
    except (OSError, TimeoutError, ValueError):
        return False
    return status_line.split()[1:2] == [b"200"]


def printed_line(log_file: Path, offset: int, prefix: str) -> bool:
    """Whether a whole line that begins with `prefix` stands in `log_file` after `offset` bytes."""
    try:
        with log_file.open("rb") as file:
            file.seek(offset)
            written = file.read(_LOG_BYTES_MAX)
    except OSError:
        return False
    whole_lines = written.split(b"\n")[:-1]
    return any(line.startswith(prefix.encode()) for line in whole_lines)
