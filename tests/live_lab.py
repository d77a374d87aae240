"""A JupyterLab of its own, open in a headless Chromium, for tests that use notebooks as a reader
does.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

from live_page import LivePage

START_SECONDS = 120  # it starts in 2 seconds, on a busy machine in 40
RUN_SECONDS = 600  # of a whole notebook


class LiveLab:
    """A running JupyterLab whose settings and workspaces lie in one folder, on a port that is free.
    Use it in a `with` statement, which stops it and its kernels.

    Attributes:
        address: of its page, with the token.

    Args:
        folder: for what it writes.
        files: what its file browser shows.
        env: added to the environment of its kernels.
    """

    def __init__(self, folder: Path, files: Path, env: dict[str, str]) -> None:
        self._runtime, self._log = folder / "runtime", folder / "lab.log"
        self._token = secrets.token_hex(16)
        own = {
            **{f"JUPYTER_{kind.upper()}_DIR": kind for kind in ("config", "data", "runtime")},
            **{f"JUPYTERLAB_{kind.upper()}_DIR": kind for kind in ("settings", "workspaces")},
            "IPYTHONDIR": "ipython",
        }
        command = [
            *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"),
            "--expose-app-in-browser",  # the page can call its commands
            "--ServerApp.ip=127.0.0.1",
            "--ServerApp.port=0",
            f"--ServerApp.root_dir={files}",
            f"--IdentityProvider.token={self._token}",
            "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
            "--LabApp.extension_manager=readonly",
        ]
        folders = {name: str(folder / kind) for name, kind in own.items()}
        silence = folder / "settings" / "@jupyterlab" / "apputils-extension"
        silence.mkdir(parents=True)  # otherwise a question lies over the page
        (silence / "notification.jupyterlab-settings").write_text('{"fetchNews": "false"}')
        with self._log.open("wb") as log:
            self._server = subprocess.Popen(
                command, env={**os.environ, **folders, **env}, stdout=log, stderr=log
            )
        try:
            self.address = self._wait()
        except BaseException:
            self._server.kill()
            raise

    def __enter__(self) -> LiveLab:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.terminate()  # it stops its kernels
        try:
            self._server.wait(30)
        except subprocess.TimeoutExpired:
            self._server.kill()

    def _wait(self) -> str:
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            assert self._server.poll() is None, self._log.read_text()
            for info in self._runtime.glob("jpserver-*.json"):
                url = json.loads(info.read_text())["url"]
                try:
                    urlopen(f"{url}api?token={self._token}", timeout=5).close()
                    return f"{url}lab?token={self._token}"
                except URLError:
                    pass
            time.sleep(0.1)
        raise AssertionError(self._log.read_text())


class LabPage(LivePage):
    """The page of a `LiveLab`, with one notebook open at a time."""

    def __init__(self, lab: LiveLab, profile: Path, width: int = 1280, height: int = 900) -> None:
        super().__init__(lab.address, profile, width, height)
        self.wait_for("globalThis.jupyterapp", START_SECONDS)
        self.value("jupyterapp.restored.then(() => 1)")

    def open(self, name: str) -> None:
        """Opens a notebook and waits for its kernel."""
        self.value(
            f"jupyterapp.commands.execute('docmanager:open', {{path: {name!r}}}).then((panel) => {{"
            "globalThis.book = panel; return Promise.all([panel.revealed, panel.context.ready,"
            "panel.sessionContext.ready]).then(() => 1); })"
        )

    def run_all(self) -> list[dict[str, Any]]:
        """Runs all cells as the menu does; returns the code cells with their outputs."""
        self.value(
            "(globalThis.hasRun = false, jupyterapp.commands.execute('notebook:run-all-cells')"
            ".then(() => { hasRun = true; }), 1)"
        )
        self.wait_for("hasRun", RUN_SECONDS)
        return self.code_cells()

    def run_last(self) -> str:
        """Runs the last cell; returns what it prints."""
        self.value(
            "(book.content.activeCellIndex = book.content.widgets.length - 1,"
            "jupyterapp.commands.execute('notebook:run-cell').then(() => 1))"
        )
        return "".join("".join(output["text"]) for output in self.code_cells()[-1]["outputs"])

    def code_cells(self) -> list[dict[str, Any]]:
        """Returns the code cells as they would be saved."""
        cells = json.loads(self.value("JSON.stringify(book.content.model.toJSON().cells)"))
        return [cell for cell in cells if cell["cell_type"] == "code"]

    def close(self) -> None:
        """Shuts the kernel of the notebook down and closes it without saving."""
        self.value("book.sessionContext.shutdown().then(() => 1)")
        self.value("(book.context.model.dirty = false, book.dispose(), 1)")
