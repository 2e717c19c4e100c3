"""A real browser under test: Debian's chromium without a window, driven through its DevTools pipe."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

EXECUTABLE = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_browser = pytest.mark.skipif(EXECUTABLE is None, reason="no chromium on this machine")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--mute-audio", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-dev-shm-usage", "--password-store=basic", "--remote-debugging-pipe"),
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1",
)


class Chromium:
    """A running browser with an empty profile that reaches nothing but this machine.

    Args:
        profile: an empty folder; what it keeps, service workers for example, lies there.
        flags: more of its command line.
    """

    def __init__(self, profile: Path, flags: Sequence[str] = ()) -> None:
        assert EXECUTABLE is not None
        # It reads commands from its file 3 and answers on its file 4.
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()
        command = [EXECUTABLE, *FLAGS, f"--user-data-dir={profile}", *flags, "about:blank"]
        redirect = ["bash", "-c", f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}', "chromium", *command]
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._process = subprocess.Popen(
            redirect, pass_fds=(theirs_in, theirs_out), start_new_session=True, **quiet
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._buffer, self._last_id = b"", 0
        self.events: list[dict[str, Any]] = []

    def command(
        self, method: str, *, session: str | None = None, timeout: float = 60, **params: Any
    ) -> dict[str, Any]:
        """One DevTools command; its result."""
        self._last_id += 1
        message = {"id": self._last_id, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        until = time.monotonic() + timeout
        while True:
            answer = self._read(until - time.monotonic(), method)
            if answer.get("id") == self._last_id:
                assert "error" not in answer, f"{method}: {answer['error']}"
                result: dict[str, Any] = answer["result"]
                return result
            self.events.append(answer)

    def _read(self, timeout: float, method: str) -> dict[str, Any]:
        until = time.monotonic() + timeout
        while b"\0" not in self._buffer:
            left = max(0, until - time.monotonic())
            assert select.select([self._in], [], [], left)[0], f"the browser does not answer {method}"
            chunk = os.read(self._in, 1 << 20)
            assert chunk, "the browser has ended"
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        return message

    def open(self, url: str, *, before: str = "", size: tuple[int, int] = (1280, 800)) -> Tab:
        """A tab at that address, loaded.

        Args:
            url: to open.
            before: JavaScript that runs before the page's own, to take something away from it.
            size: of the window, width and height in CSS pixels.
        """
        target = self.command("Target.createTarget", url="about:blank")["targetId"]
        session = self.command("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        tab = Tab(self, session)
        for domain in ("Page", "Runtime", "Log", "Network"):
            tab.command(f"{domain}.enable")
        tab.resize(*size)
        if before:
            tab.command("Page.addScriptToEvaluateOnNewDocument", source=before)
        tab.go(url)
        return tab

    def close(self) -> None:
        """End it, and all the processes that it started."""
        end_group(self._process)
        os.close(self._in)
        os.close(self._out)


def end_group(process: subprocess.Popen[bytes]) -> None:
    """End a process that leads a group, and the group: asked first, then killed."""
    for end in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, end)
            process.wait(10)
            break
        except subprocess.TimeoutExpired:
            continue
        except ProcessLookupError:
            break
    process.wait()


class Tab:
    """One page of a browser."""

    def __init__(self, browser: Chromium, session: str) -> None:
        self.browser, self.session = browser, session

    def command(self, method: str, **params: Any) -> dict[str, Any]:
        """A DevTools command to this tab."""
        return self.browser.command(method, session=self.session, **params)

    def go(self, url: str) -> None:
        """Load an address."""
        self.command("Page.navigate", url=url)
        self.wait_for(
            f"location.href !== 'about:blank' && document.readyState === 'complete' || {url!r} === ''"
        )

    def resize(self, width: int, height: int) -> None:
        """Of the window, CSS pixels; narrow ones are a phone's, with touch."""
        self.command(
            "Emulation.setDeviceMetricsOverride",
            **{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600},
        )

    def evaluate(self, expression: str, *, timeout: float = 60) -> Any:
        """The value of an expression, awaited; of statements with `return` in `(async () => {…})()`."""
        done = self.command(
            "Runtime.evaluate",
            **{"expression": expression, "awaitPromise": True, "returnByValue": True, "userGesture": True},
            timeout=timeout,
        )
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    def wait_for(self, condition: str, *, timeout: float = 30) -> Any:
        """The first value of an expression that is true, also across a reload."""
        until, last = time.monotonic() + timeout, None
        while time.monotonic() < until:
            try:
                last = self.evaluate(condition)
            except AssertionError as error:  # the page is being replaced, or has no such element yet
                last = error
            if last and not isinstance(last, AssertionError):
                return last
            time.sleep(0.05)
        raise AssertionError(
            f"never became true: {condition} (last: {last})\n{self.text()[:2000]}\n{self.faults()}"
        )

    def text(self) -> str:
        """What a reader sees of the page."""
        shown: str = self.evaluate("document.body ? document.body.innerText : ''")
        return shown

    def click(self, selector: str) -> None:
        """Press the first element of that selector."""
        self.evaluate(f"document.querySelector({selector!r}).click()")

    def text_of(self, selector: str, *, having: str = "") -> str:
        """What the first element of that selector says, once it says that."""
        found = f"(document.querySelector({selector!r})?.textContent ?? '')"
        said: str = self.wait_for(f"{found}.includes({json.dumps(having)}) && {found}")
        return said

    def shown(self, selector: str) -> None:
        """Wait until the first element of that selector is there and not hidden."""
        self.wait_for(f"document.querySelector({selector!r})?.checkVisibility()")

    def press(self, key: str, *, code: int = 0, shift: bool = False) -> None:
        """A key on the keyboard, by its DOM name: Tab, Enter, ArrowRight."""
        codes = {"Tab": 9, "Enter": 13, " ": 32, "ArrowLeft": 37, "ArrowRight": 39, "Home": 36, "End": 35}
        text = {"Enter": "\r", " ": " "}.get(key, "")
        common = {"key": key, "windowsVirtualKeyCode": code or codes[key], "modifiers": 8 if shift else 0}
        self.command("Input.dispatchKeyEvent", type="keyDown", text=text, **common)
        self.command("Input.dispatchKeyEvent", type="keyUp", **common)

    def choose_files(self, selector: str, *paths: Path) -> None:
        """Pick files in a file input."""
        document = self.command("DOM.getDocument")["root"]["nodeId"]
        node = self.command("DOM.querySelector", nodeId=document, selector=selector)["nodeId"]
        self.command("DOM.setFileInputFiles", nodeId=node, files=[str(path) for path in paths])

    def offline(self, is_offline: bool = True) -> None:
        """Cut the page off, or connect it again."""
        self.command(
            "Network.emulateNetworkConditions",
            **{"offline": is_offline, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1},
        )

    def screenshot(self) -> bytes:
        """What the window shows, as PNG."""
        return base64.b64decode(self.command("Page.captureScreenshot", format="png")["data"])

    def faults(self) -> list[str]:
        """Exceptions nobody caught, and what the browser refused: policy, missing files."""
        self.evaluate("0")  # events until now
        found = []
        for event in self.browser.events:
            if event.get("sessionId") != self.session:
                continue
            if event.get("method") == "Runtime.exceptionThrown":
                details = event["params"]["exceptionDetails"]
                found.append(details.get("exception", {}).get("description") or details["text"])
            elif event.get("method") == "Log.entryAdded" and event["params"]["entry"]["level"] == "error":
                entry = event["params"]["entry"]
                found.append(f"{entry['text']} ({entry.get('url', '')})")
        return found


@contextmanager
def running_chromium(profile: Path, *flags: str) -> Iterator[Chromium]:
    """A browser for a while."""
    browser = Chromium(profile, flags)
    try:
        yield browser
    finally:
        browser.close()
