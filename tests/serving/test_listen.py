"""A socket to listen at, or a line that says why not."""

import socket

import pytest

from mobileone.errors import ConfigError
from mobileone.serving.listen import listen


def test_a_port_in_use_is_refused():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"cannot listen at 127.0.0.1, port {port}: .* another port"):
            listen("127.0.0.1", port)
    with pytest.raises(ConfigError, match="port 70000"):
        listen("127.0.0.1", 70000)


def test_answers_are_not_held_back():
    """What is accepted is known to be TCP, for which asyncio turns the waiting for more to send off."""
    with listen("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()[:2]):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.proto == socket.IPPROTO_TCP
