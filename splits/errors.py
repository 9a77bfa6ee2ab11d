"""The one exception for mistakes of the user: what was found, expected, where, and how to fix it.

It lives in `splits` because every other room may import `splits`. The command line prints it
without a traceback and exits with code 2. Beside it stands the one for work that is only stopped,
with code 75.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

TEMPORARY = 75
"""exit code of what the same command may go on with another time, as sysexits.h has it"""


class UserError(Exception):
    """A mistake that the user can mend.

    Args:
        found: what was found, as a full clause ("setting `cg_hihg` is unknown").
        expected: what would have been right.
        where: file, key or command in which it was found.
        fix: what to do about it.
    """

    def __init__(self, found: str, *, expected: str = "", where: str = "", fix: str = "") -> None:
        self.found, self.expected, self.where, self.fix = found, expected, where, fix
        parts = [("expected", expected), ("where", where), ("fix", fix)]
        lines = [found, *(f"  {label + ':':<9} {text}" for label, text in parts if text)]
        super().__init__("\n".join(lines))


class Stopped(Exception):
    """Work that ended before it was done; nothing is lost, and the same command goes on."""


def unknown(kind: str, name: object, known: Iterable[str], *, where: str = "") -> UserError:
    """Build (not raise) the error for a name that is not among the `known` ones of its `kind`."""
    known = list(known)
    close = get_close_matches(str(name), known, n=1)
    return UserError(
        f"{kind} `{name}` is unknown" + (f" (did you mean `{close[0]}`?)" if close else ""),
        expected=f"one of {', '.join(known)}" if known else f"a {kind}; there is none here",
        where=where,
    )
