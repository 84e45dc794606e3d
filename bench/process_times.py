"""CPU time and memory of processes, from /proc."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc")
_TICKS_PER_SECOND: Final = os.sysconf("SC_CLK_TCK")
_PARENT, _USER, _SYSTEM, _REAPED_USER, _REAPED_SYSTEM = 1, 11, 12, 13, 14  # after the name


def cpu_seconds(pid: int) -> float:
    """User and system time of a process, its living children and those it has reaped."""
    times = {int(entry.name): _stat(entry) for entry in _PROC.iterdir() if entry.name.isdigit()}
    if pid not in times:
        return 0.0
    own = times[pid]
    ticks = sum(int(own[i]) for i in (_USER, _SYSTEM, _REAPED_USER, _REAPED_SYSTEM))
    for fields in times.values():
        if fields and int(fields[_PARENT]) == pid:
            ticks += int(fields[_USER]) + int(fields[_SYSTEM])
    return ticks / _TICKS_PER_SECOND


def main_thread_seconds(pid: int) -> float:
    """User and system time of the first thread alone: the one that runs Python's event loop."""
    fields = _stat(_PROC / str(pid) / "task" / str(pid))
    return (int(fields[_USER]) + int(fields[_SYSTEM])) / _TICKS_PER_SECOND if fields else 0.0


def machine_seconds() -> float:
    """CPU time that all cores spent on anything but idling, stolen time included."""
    fields = (_PROC / "stat").read_text("ascii").split("\n", 1)[0].split()[1:9]
    user, nice, system, _, _, irq, softirq, steal = map(int, fields)
    return (user + nice + system + irq + softirq + steal) / _TICKS_PER_SECOND


def snapshot(watched: dict[str, list[int]]) -> dict[str, float]:
    """CPU seconds by name; `name:loop` is the first threads of its processes."""
    found = {name: sum(map(cpu_seconds, pids)) for name, pids in watched.items()}
    found |= {
        f"{name}:loop": sum(map(main_thread_seconds, pids))
        for name, pids in watched.items()
        if name != "postgres"
    }
    return found


def pss_mb(pids: Iterable[int]) -> float:
    """Proportional set size of these processes together, in MB (10^6 bytes)."""
    kib = 0
    for pid in pids:
        for line in (_PROC / str(pid) / "smaps_rollup").read_text("ascii").splitlines():
            if line.startswith("Pss:"):
                kib += int(line.split()[1])
    return kib * 1024 / 1e6


def _stat(folder: Path) -> list[str]:
    """The fields after the name, which may hold anything; empty when the process has gone."""
    try:
        return (folder / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()
    except OSError:
        return []
