"""A browser to look at pages with: headless Chromium, driven over a pipe (Chrome DevTools Protocol)."""

from __future__ import annotations

import base64
import itertools
import json
import os
import select
import shutil
import signal
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

_PATIENCE = 20
"""Seconds without a word from the browser."""

_CODES = {"Enter": 13, "Escape": 27, "End": 35, "Home": 36, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39}
_CODES |= {"ArrowDown": 40, "Tab": 9, "/": 191}
_TEXTS = {"Enter": "\r", "/": "/"}


@dataclass(slots=True)
class Browser:
    """One page of a running browser."""

    write: int
    read: int
    session: str | None = None
    events: list[dict[str, Any]] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    rest: bytes = b""

    def call(self, method: str, **parameters: object) -> dict[str, Any]:
        """Calls a method of the protocol and returns its result."""
        number = next(self.numbers)
        message = {"id": number, "method": method, "params": parameters}
        if self.session is not None:
            message["sessionId"] = self.session
        os.write(self.write, json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != number:
            self.events.append(answer)
        assert "error" not in answer, answer
        result: dict[str, Any] = answer["result"]
        return result

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self.rest:
            assert select.select([self.read], [], [], _PATIENCE)[0], "the browser does not answer"
            part = os.read(self.read, 1 << 20)
            assert part, "the browser has ended"
            self.rest += part
        message, _, self.rest = self.rest.partition(b"\0")
        answer: dict[str, Any] = json.loads(message)
        return answer

    def attach(self) -> Self:
        """Opens the page that everything below happens in."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log", "Accessibility"):
            self.call(f"{domain}.enable")
        self.call("Page.setLifecycleEventsEnabled", enabled=True)
        return self

    def open(self, path: Path, *, until: str | None = None) -> None:
        """Opens a file and waits until it is loaded, and until something holds in it."""
        self.call("Page.navigate", url="about:blank")
        self.events.clear()
        loader = self.call("Page.navigate", url=path.as_uri())["loaderId"]
        while not any(
            one["loaderId"] == loader and one["name"] == "load" for one in self.seen("Page.lifecycleEvent")
        ):
            self.events.append(self._next())
        if until is not None:
            self.wait(until)

    def run(self, script: str) -> Any:  # noqa: ANN401 -- JSON
        """Returns the value of an expression in the page."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait(self, condition: str) -> None:
        """Waits until an expression is true; the page looks once for each frame it would draw."""
        give_up = f"fail(new Error({json.dumps(condition)}))"
        self.run(
            "new Promise((done, fail) => { let left = 300; "
            f"const look = () => ({condition}) ? done() : left-- ? setTimeout(look, 16) : {give_up}; look(); }})"
        )

    def press(self, *keys: str) -> None:
        """Presses keys, one after the other, as a keyboard does."""
        for key in keys:
            event = {
                "key": key,
                "windowsVirtualKeyCode": _CODES.get(key, 0),
                "code": key if len(key) > 1 else "",
            }
            if text := _TEXTS.get(key, key if len(key) == 1 else ""):
                event["text"] = text
            self.call("Input.dispatchKeyEvent", type="keyDown", **event)
            self.call("Input.dispatchKeyEvent", type="keyUp", **event)

    def look(self, *, width: int = 1280, height: int = 900, **features: str) -> None:
        """Sets the size of the window and what the user prefers: ``prefers_color_scheme="dark"``, or ``media``."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        media = features.pop("media", "")
        those = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
        self.call("Emulation.setEmulatedMedia", media=media, features=those)

    def picture(self, path: Path, *, whole: bool = True) -> None:
        """Writes what is seen as PNG."""
        data = self.call("Page.captureScreenshot", captureBeyondViewport=whole)["data"]
        path.write_bytes(base64.b64decode(data))

    def pdf(self, path: Path) -> None:
        """Writes what would be printed."""
        path.write_bytes(
            base64.b64decode(self.call("Page.printToPDF", paperWidth=8.27, paperHeight=11.69)["data"])
        )

    def seen(self, *methods: str) -> list[dict[str, Any]]:
        """Returns the parameters of the events of some kinds since the page was opened."""
        return [one["params"] for one in self.events if one.get("method") in methods]


@contextmanager
def browser(folder: Path, options: Sequence[str] = ()) -> Iterator[Browser]:
    """Runs the browser, with its files in a folder, in a process group of its own."""
    assert PROGRAM is not None
    command = [PROGRAM, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run"]
    command += [
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--remote-debugging-pipe",
        *options,
    ]
    command += [f"--user-data-dir={folder}"]
    their_read, write = os.pipe()
    read, their_write = os.pipe()
    with (folder / "log").open("wb") as log:
        process = os.posix_spawn(
            PROGRAM,
            command,
            os.environ | {"HOME": str(folder)},
            file_actions=[
                (os.POSIX_SPAWN_DUP2, their_read, 3),
                (os.POSIX_SPAWN_DUP2, their_write, 4),
                (os.POSIX_SPAWN_DUP2, log.fileno(), 1),
                (os.POSIX_SPAWN_DUP2, log.fileno(), 2),
            ],
            setpgroup=0,
        )
    os.close(their_read)
    os.close(their_write)
    try:
        yield Browser(write=write, read=read).attach()
    finally:
        os.close(write)
        os.close(read)
        os.killpg(process, signal.SIGKILL)
        os.waitpid(process, 0)
