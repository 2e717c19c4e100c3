"""A socket that servers accept connections from. Imports nothing but Python's own."""

from __future__ import annotations

import os
import socket

from mobileone.errors import ConfigError

CONNECTIONS = 1000


def listen(host: str, port: int) -> socket.socket:
    """A listening TCP socket.

    Args:
        host: address to listen at, IPv4, IPv6 or a name.
        port: 0 takes a free one.

    Raises:
        ConfigError: if the address cannot be listened at.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named TCP, so that asyncio lets answers go at once: else two small writes wait 40 ms for each other.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name == "posix":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(CONNECTIONS)
    except (OSError, OverflowError) as error:
        listener.close()
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"cannot listen at {host}, port {port}: {reason}; choose another port") from None
    return listener
