"""Another browser under test: Debian's firefox without a window, driven through its own Marionette."""

from __future__ import annotations

import base64
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from .chromium import end_group

EXECUTABLE = shutil.which("firefox-esr") or shutil.which("firefox")
needs_firefox = pytest.mark.skipif(EXECUTABLE is None, reason="no firefox on this machine")
PREFERENCES = {
    "marionette.port": 0,  # a free one, which the profile's MarionetteActivePort tells
    "devtools.jsonview.enabled": False,
    "app.update.enabled": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "network.proxy.type": 0,
}
# In the page's own world, where import() works; the answer is left where the caller looks for it.
EVALUATE = """(async () => {
  window.answer = undefined;
  try { window.answer = JSON.stringify({ value: await (%s) }); }
  catch (error) { window.answer = JSON.stringify({ error: String(error) }); }
})()"""


class Firefox:
    """A running browser with a profile of its own, and one page.

    Args:
        profile: an empty folder.
    """

    def __init__(self, profile: Path) -> None:
        assert EXECUTABLE is not None
        profile.mkdir(parents=True)
        lines = [
            f"user_pref({json.dumps(name)}, {json.dumps(value)});" for name, value in PREFERENCES.items()
        ]
        (profile / "user.js").write_text("\n".join(lines) + "\n")
        command = [EXECUTABLE, "--headless", "--no-remote", "--marionette", "--profile", str(profile)]
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        environment = os.environ | {"HOME": str(profile), "MOZ_DISABLE_CONTENT_SANDBOX": "1"}
        self._process = subprocess.Popen(command, env=environment, start_new_session=True, **quiet)
        self._last_id = 0
        self._socket: socket.socket | None = None
        try:
            self._socket = self._connected(profile / "MarionetteActivePort")
            self._stream = self._socket.makefile("rb")
            self._message()
            self.command("WebDriver:NewSession")
        except BaseException:
            self.close()
            raise

    def _connected(self, place: Path) -> socket.socket:
        until = time.monotonic() + 60
        while time.monotonic() < until:
            assert self._process.poll() is None, "the browser has ended"
            try:
                return socket.create_connection(("127.0.0.1", int(place.read_text())), timeout=120)
            except (OSError, ValueError):
                time.sleep(0.1)
        raise AssertionError("the browser does not start")

    def _message(self) -> Any:
        digits = b""
        while not digits.endswith(b":"):
            digits += self._stream.read(1) or pytest.fail("the browser has ended")
        return json.loads(self._stream.read(int(digits[:-1])))

    def command(self, name: str, **parameters: Any) -> Any:
        """One command; its result."""
        self._last_id += 1
        text = json.dumps([0, self._last_id, name, parameters]).encode()
        assert self._socket is not None
        self._socket.sendall(b"%d:%s" % (len(text), text))
        _, number, error, result = self._message()
        assert number == self._last_id
        assert error is None, f"{name}: {error['message']}"
        return result

    def go(self, url: str) -> None:
        """Load an address."""
        self.command("WebDriver:Navigate", url=url)

    def evaluate(self, expression: str, *, timeout: float = 60) -> Any:
        """The value of an expression, awaited."""
        self._script("window.eval(arguments[0])", EVALUATE % expression)
        until = time.monotonic() + timeout
        while time.monotonic() < until:
            answer = self._script("return window.answer")
            if answer is not None:
                found = json.loads(answer)
                assert "error" not in found, found["error"]
                return found.get("value")
            time.sleep(0.05)
        raise AssertionError(f"no answer to {expression[:200]}")

    def wait_for(self, expression: str) -> None:
        """Until it is true; it may not await."""
        until = time.monotonic() + 60
        while not self._script(f"return Boolean({expression})"):
            assert time.monotonic() < until, expression
            time.sleep(0.05)

    def _script(self, script: str, *arguments: Any) -> Any:
        return self.command("WebDriver:ExecuteScript", script=script, args=list(arguments))["value"]

    def screenshot(self) -> bytes:
        """What is seen of the page, as PNG."""
        return base64.b64decode(self.command("WebDriver:TakeScreenshot", full=False)["value"])

    def close(self) -> None:
        """End it, and all the processes that it started."""
        end_group(self._process)
        if self._socket is not None:
            self._stream.close()
            self._socket.close()


@contextmanager
def running_firefox(profile: Path) -> Iterator[Firefox]:
    """A browser for a while."""
    browser = Firefox(profile)
    try:
        yield browser
    finally:
        browser.close()
