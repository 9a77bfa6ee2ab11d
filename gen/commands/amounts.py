"""Times, sizes and counts in words."""

from __future__ import annotations

MINUTE, HOUR, DAY = 60, 3600, 86400


def duration(seconds: float) -> str:
    """A time in words: `40 s`, `12 min`, `3 h 05 min`, `2 d 4 h`."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes, hours = round(seconds / MINUTE), round(seconds / HOUR)
    if minutes < 100:
        return f"{minutes} min"
    if hours < 48:
        return f"{minutes // 60} h {minutes % 60:02} min"
    return f"{hours // 24} d {hours % 24} h"


def counted(count: int, noun: str) -> str:
    """So many of a thing: `1 run`, `12 runs`."""
    return f"{count:,} {noun}{'s' * (count != 1)}"


def size(count: float) -> str:
    """A number of bytes in words: `512 B`, `23.4 MB`, `1.2 TB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.5:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 99.95 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:,.1f} TB"
