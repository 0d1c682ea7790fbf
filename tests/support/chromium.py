"""A headless Chromium that opens files, over the pipe of its DevTools protocol: no port, no further package."""

import base64
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
OPTIONS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--remote-debugging-pipe")
KEYS = {"Tab": 9, "Escape": 27, "ArrowLeft": 37, "ArrowRight": 39}  # codes of those that are pressed
LOADED = "new Promise(done => document.readyState === 'complete' ? done() : addEventListener('load', done))"


class Page:
    """A page that was opened, as a person would from a disk and without a network."""

    def __init__(self, path: Path, to_browser: int, from_browser: int):
        self._to, self._from, self._unread = to_browser, from_browser, b""
        self._number = 0
        self._session: dict[str, str] = {}
        self.complaints: list[str] = []  # errors of the page's programs, and all that it asked a network for
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = {"sessionId": self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]}
        for domain in ("Runtime", "Log", "Network", "Page"):
            self._call(f"{domain}.enable")
        self._call(
            "Network.emulateNetworkConditions", offline=True, latency=0, downloadThroughput=0, uploadThroughput=0
        )
        self._call("Page.navigate", url=path.resolve().as_uri())
        self.js(LOADED)

    def js(self, expression: str) -> Any:
        """What the expression, or the promise that it is, comes to in the page."""
        done = self._call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in done, done
        return done["result"].get("value")

    def move(self, x: float, y: float, kind: str = "mouseMoved") -> None:
        """The pointer, in pixels of the window."""
        self._call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def tap(self, x: float, y: float) -> None:
        """A finger, in pixels of the window."""
        self._call("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": x, "y": y}])
        self._call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def press(self, key: str) -> None:
        for kind in ("rawKeyDown", "keyUp"):
            self._call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=KEYS[key])

    def resize(self, width: int, height: int, touch: bool = False) -> None:
        """The window's inside, which the browser's own smallest width does not bound."""
        self._call("Emulation.setTouchEmulationEnabled", enabled=touch)
        self._call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=touch)
        self.js("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def emulate(self, scheme: str) -> None:
        """A system that prefers "dark" or "light"."""
        self._call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def screenshot(self, path: Path, whole: bool = True) -> None:
        shot = self._call("Page.captureScreenshot", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(shot["data"]))

    def _call(self, method: str, **parameters: Any) -> dict:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters, **self._session}
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = json.loads(self._message())
            self._note(answer)
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]

    def _message(self) -> bytes:
        while b"\0" not in self._unread:
            more = os.read(self._from, 2**16)
            assert more, "the browser has ended"
            self._unread += more
        message, _, self._unread = self._unread.partition(b"\0")
        return message

    def _note(self, event: dict) -> None:
        parameters = event.get("params", {})
        if event.get("method") == "Runtime.exceptionThrown" or (
            event.get("method") == "Log.entryAdded" and parameters["entry"]["level"] == "error"
        ):
            self.complaints.append(json.dumps(parameters))
        if event.get("method") == "Network.requestWillBeSent":
            url = parameters["request"]["url"]
            if not url.startswith(("file:", "data:", "blob:")):
                self.complaints.append(url)

    def close(self) -> None:
        self._session = {}
        self._call("Browser.close")
        os.close(self._to)
        os.close(self._from)


@contextmanager
def opened(path: Path, profile: Path, width: int = 1280, height: int = 900) -> Iterator[Page]:
    """The page in a browser of its own, whose profile is in that folder; skipped where there is no Chromium."""
    if PROGRAM is None:
        pytest.skip("no chromium program is installed here")
    (read_commands, write_commands), (read_answers, write_answers) = os.pipe(), os.pipe()
    # The browser reads descriptor 3 and writes 4.
    begin = (
        f"import os, sys; os.dup2({read_commands}, 3); os.dup2({write_answers}, 4); os.execv(sys.argv[1], sys.argv[1:])"
    )
    options = [*OPTIONS, f"--user-data-dir={profile}", f"--window-size={width},{height}"]
    browser = subprocess.Popen(
        [sys.executable, "-c", begin, PROGRAM, *options],
        pass_fds=(read_commands, write_answers),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(read_commands)
    os.close(write_answers)
    try:
        page = Page(path, write_commands, read_answers)
        yield page
        page.close()
        browser.wait(20)
    finally:
        browser.kill()
        browser.wait()
