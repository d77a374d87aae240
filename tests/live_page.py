"""A page that stays open in a headless Chromium, in real time: it is clicked, typed into, measured
and photographed over the browser's own protocol. `browsers` opens pages that need none of it.
"""

from __future__ import annotations

import base64
import json
import subprocess
import time
from pathlib import Path
from typing import Any

from browsers import BROWSER

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)
# the browser reads commands from file 3 and answers on file 4
OVER_PIPES = ["sh", "-c", 'exec "$@" 3<&0 4>&1 >/dev/null 2>&1', "sh"]


class LivePage:
    """One open page. Use it in a `with` statement, which closes the browser.

    Attributes:
        problems: errors and warnings of the page's console, and its uncaught errors.
        errors: those of them that are no warnings.
        requests: addresses that the page asked for.

    Args:
        page: a file, or an address.
        profile: folder of the browser.
    """

    def __init__(
        self, page: Path | str, profile: Path, width: int = 1280, height: int = 900
    ) -> None:
        assert BROWSER is not None
        self.problems: list[str] = []
        self.errors: list[str] = []
        self.requests: list[str] = []
        self._last, self._rest, self._session = 0, b"", ""
        command = [*OVER_PIPES, BROWSER, *FLAGS, f"--user-data-dir={profile}"]
        self._browser = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        attached = self.ask("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")
        self.resize(width, height)
        self.ask("Page.navigate", url=page if isinstance(page, str) else page.resolve().as_uri())

    def __enter__(self) -> LivePage:
        return self

    def __exit__(self, *_: object) -> None:
        self._browser.kill()
        self._browser.communicate()

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """Returns the answer of the browser to a command of the DevTools protocol."""
        self._last += 1
        message: dict[str, Any] = {"id": self._last, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        assert self._browser.stdin is not None
        self._browser.stdin.write(json.dumps(message).encode() + b"\0")
        self._browser.stdin.flush()
        while True:
            answer = self._receive()
            if answer.get("id") == self._last:
                assert "error" not in answer, answer
                return answer["result"]
            self._note(answer)

    def value(self, expression: str) -> Any:
        """Returns what a JavaScript expression gives in the page; a promise is waited for."""
        answer = self.ask(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait_for(self, condition: str, seconds: float = 60) -> None:
        """Returns once a JavaScript expression is true."""
        end = time.monotonic() + seconds
        while not self.value(f"Boolean({condition})"):
            assert time.monotonic() < end, f"{condition} stayed false; console: {self.problems}"
            time.sleep(0.05)

    def resize(self, width: int, height: int) -> None:
        """Gives the page a window of this size in pixels."""
        self.ask(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    def prefer(self, **features: str) -> None:
        """Sets what the reader prefers, such as `prefers_color_scheme="dark"`."""
        named = [{"name": key.replace("_", "-"), "value": value} for key, value in features.items()]
        self.ask("Emulation.setEmulatedMedia", features=named)

    def key(self, name: str, text: str = "") -> None:
        """Presses and releases a key, such as "ArrowLeft", or " " with its text."""
        for kind in ("keyDown", "keyUp"):
            typed = {"text": text} if text and kind == "keyDown" else {}
            self.ask("Input.dispatchKeyEvent", type=kind, key=name, code=name, **typed)

    def drag(self, selector: str, points: list[tuple[float, float]]) -> None:
        """Moves the pressed mouse over an element, through points in units of its sides."""
        box = self.value(
            f"(() => {{ const e = document.querySelector({selector!r});"
            "e.scrollIntoView({block: 'center'}); const b = e.getBoundingClientRect();"
            "return [b.left, b.top, b.width, b.height]; })()"
        )
        for number, (x, y) in enumerate(points):
            kind = "mousePressed" if number == 0 else "mouseMoved"
            self._mouse(kind, box, x, y)
        self._mouse("mouseReleased", box, *points[-1])

    def screenshot(self, target: Path) -> None:
        """Writes the whole page, not only what its window shows, as a PNG."""
        size = self.ask("Page.getLayoutMetrics")["cssContentSize"]
        shot = self.ask(
            "Page.captureScreenshot", captureBeyondViewport=True, clip={**size, "scale": 1}
        )
        target.write_bytes(base64.b64decode(shot["data"]))

    def _mouse(self, kind: str, box: list[float], x: float, y: float) -> None:
        left, top, width, height = box
        self.ask(
            "Input.dispatchMouseEvent",
            type=kind,
            x=left + x * width,
            y=top + y * height,
            button="left",
            buttons=0 if kind == "mouseReleased" else 1,
            clickCount=1,
        )

    def _receive(self) -> dict[str, Any]:
        assert self._browser.stdout is not None
        while b"\0" not in self._rest:
            piece = self._browser.stdout.read1(1 << 20)  # type: ignore[attr-defined]
            assert piece, "the browser has ended"
            self._rest += piece
        message, self._rest = self._rest.split(b"\0", 1)
        return json.loads(message)

    def _note(self, event: dict[str, Any]) -> None:
        method, params = event.get("method"), event.get("params", {})
        if method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        if method == "Runtime.exceptionThrown":
            self._problem("error", json.dumps(params["exceptionDetails"])[:500])
        if method == "Runtime.consoleAPICalled":
            self._problem(params["type"], json.dumps(params["args"])[:500])
        if method == "Log.entryAdded":
            entry = params["entry"]
            self._problem(entry["level"], f"{entry['text']} {entry.get('url', '')}")

    def _problem(self, level: str, text: str) -> None:
        if level in ("error", "warning"):
            self.problems.append(text)
        if level == "error":
            self.errors.append(text)
