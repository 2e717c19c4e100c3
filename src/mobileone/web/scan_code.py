"""An address as a code that a phone's camera reads from the terminal."""

from __future__ import annotations

import io

from mobileone.distribution import pip_install
from mobileone.errors import MissingExtraError

WHITE_ON_BLACK, PLAIN = "\x1b[97;40m", "\x1b[0m"


def scan_code(address: str) -> str:
    """A QR code of half-block characters in colours of its own, so that it is dark on light on any terminal.

    Raises:
        MissingExtraError: without the extra `web`.
    """
    try:
        import segno
    except ImportError as error:
        raise MissingExtraError(f"a code to scan needs segno ({error}); {pip_install('web')}") from error
    text = io.StringIO()
    segno.make(address, error="l", micro=False).terminal(text, border=2, compact=True)
    return "\n".join(f"{WHITE_ON_BLACK}{line}{PLAIN}" for line in text.getvalue().splitlines())
