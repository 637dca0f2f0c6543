"""A page in headless Chromium, driven over its debugging protocol; the network is cut."""

import itertools
import json
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import websocket

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chromium-browser"))), None)
OPTIONS = (
    "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-dev-shm-usage "
    "--disable-component-update --disable-sync --disable-default-apps --remote-debugging-port=0 "
    "--remote-allow-origins=* about:blank"
).split()


class Page:
    """A tab at a time; `script` evaluates in it, and the others do what a person would."""

    def __init__(self, profile: Path) -> None:
        if not CHROMIUM:
            pytest.skip("no Chromium on the path")
        command = [CHROMIUM, f"--user-data-dir={profile}", "--host-resolver-rules=MAP * ~NOTFOUND", *OPTIONS]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        port = wait(lambda: (profile / "DevToolsActivePort").read_text().split()[0])
        self.numbers, self.target, self.session = itertools.count(1), None, None
        address = (profile / "DevToolsActivePort").read_text().split()[1]
        self.socket = websocket.create_connection(f"ws://127.0.0.1:{port}{address}", timeout=300)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        number, session = next(self.numbers), {"sessionId": self.session} if self.session else {}
        self.socket.send(json.dumps({"id": number, "method": method, "params": parameters, **session}))
        while (answer := json.loads(self.socket.recv())).get("id") != number:
            pass
        assert "error" not in answer, answer
        return answer["result"]

    def open(self, url: str, width: int = 1200, height: int = 900, scripts: bool = True) -> None:
        """Show `url` in a new tab, with or without JavaScript."""
        self.session, old = None, self.target
        self.target = self.call("Target.createTarget", url="about:blank")["targetId"]
        if old:
            self.call("Target.closeTarget", targetId=old)
        self.session = self.call("Target.attachToTarget", targetId=self.target, flatten=True)["sessionId"]
        self.resize(width, height)
        self.call("Emulation.setScriptExecutionDisabled", value=not scripts)
        self.call("Page.navigate", url=url)
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    def resize(self, width: int, height: int = 900) -> None:
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def script(self, expression: str) -> Any:
        """The value of `expression`, awaited."""
        options = {"awaitPromise": True, "returnByValue": True, "userGesture": True}
        answer = self.call("Runtime.evaluate", expression=expression, **options)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def until(self, expression: str) -> Any:
        return wait(lambda: self.script(expression))

    def mouse(self, *events: tuple[str, float, float]) -> None:
        for kind, x, y in events:
            self.call("Input.dispatchMouseEvent", type=f"mouse{kind}", x=x, y=y, button="left", clickCount=1)

    def press(self, key: str) -> None:
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key)

    def choose(self, selector: str, file: Path) -> None:
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", files=[str(file)], nodeId=node)

    def close(self) -> None:
        self.socket.close()
        self.process.terminate()
        self.process.wait()


def wait(found: Any, seconds: float = 20) -> Any:
    """The first true value of `found()`."""
    end, error = time.monotonic() + seconds, None
    while time.monotonic() < end:
        try:
            if value := found():
                return value
        except (OSError, IndexError) as failure:
            error = failure
        time.sleep(0.02)
    raise AssertionError(f"nothing came in {seconds} s") from error
