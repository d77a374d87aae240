"""Google Colab in small: an empty machine, a kernel in which `google.colab` is imported, a drive,
and the course's repository in the place of the network.

The kernel is that of this environment, or of the one that `make colab` sets up with Colab's
versions (`COURSE_COLAB_PYTHON`).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager, KernelManager
from nbclient import NotebookClient

from tools.bootstrap import REPOSITORY
from tools.notebook_files import read_notebook, widget_errors

PROJECT = Path(__file__).resolve().parent.parent
CHOSEN = os.environ.get("COURSE_COLAB_PYTHON")
PYTHON = str(Path(CHOSEN).absolute()) if CHOSEN else sys.executable
CELL_TIMEOUT_SECONDS = 1200

# The packages of this environment without this course, which is installed in it. Python runs this
# in each process at its start, as `sitecustomize`.
PACKAGES_ONLY = (
    "import sys\n"
    "sys.meta_path = [f for f in sys.meta_path if 'editable' not in str(f).lower()]\n"
    "sys.path = [p for p in sys.path if not p.startswith('__editable__')]\n"
)
# What a kernel on Colab has done before the first cell.
STARTED = ["import google.colab, google.colab.output"]
# The module google.colab, as far as the course and anywidget use it; it notes what was asked of it.
STUB = {
    "__init__.py": "asked = []\n",
    "output.py": (
        "from types import SimpleNamespace\n"
        "from google.colab import asked\n"
        "_widgets = SimpleNamespace(_installed_url='https://example.org/manager.js')\n"
        "def enable_custom_widget_manager(): asked.append('custom widgets')\n"
    ),
    "drive.py": (
        "import os\n"
        "from google.colab import asked\n"
        "def mount(path):\n"
        "    asked.append('drive')\n"
        "    os.makedirs(path, exist_ok=True)\n"
        "    os.symlink(os.environ['STUB_DRIVE'], os.path.join(path, 'MyDrive'))\n"
        "    print('Mounted at', path)\n"
    ),
}


def published_course(folder: Path) -> Path:
    """Returns a repository with the course's files as they are now, what git ignores left out."""
    repository = folder / "published.git"
    git = ["git", "-c", "user.name=test", "-c", "user.email=test@example.org"]
    subprocess.run([*git, "init", "--quiet", "--bare", str(repository)], check=True)
    # A clone is made for each machine: small packs would cost more time than they save.
    for setting, value in {"core.compression": "0", "pack.window": "0"}.items():
        subprocess.run([*git, "--git-dir", str(repository), "config", setting, value], check=True)
    git += [f"--git-dir={repository}", f"--work-tree={PROJECT}"]
    subprocess.run([*git, "add", "."], cwd=PROJECT, check=True, capture_output=True)
    subprocess.run([*git, "commit", "--quiet", "-m", "the course"], cwd=PROJECT, check=True)
    return repository


class ColabMachine:
    """A machine of Colab, lent for one session, and the drive, which stays.

    Attributes:
        content: its `/content`, the working folder of every kernel.
        course: where the first cell clones the course to.
        drive: the learner's drive; after `drive.mount` it is `content/drive/MyDrive` as well.
    """

    def __init__(self, folder: Path, published: Path) -> None:
        self.content, self.drive = folder / "content", folder / "the-drive"
        self.course = self.content / "course"
        self._stub, self._git = folder / "stub", folder / "gitconfig"
        self._cache = published.parent / "cache"
        module = self._stub / "google" / "colab"
        module.mkdir(parents=True)
        for name, source in STUB.items():
            (module / name).write_text(source)
        if not CHOSEN:
            (self._stub / "sitecustomize.py").write_text(PACKAGES_ONLY)
        self._git.write_text(f'[url "{published.as_uri()}"]\n\tinsteadOf = {REPOSITORY}\n')
        self.drive.mkdir()
        self.content.mkdir()

    def replace(self) -> None:
        """Ends the session as Colab does: all is lost but the drive."""
        shutil.rmtree(self.content)
        self.content.mkdir()

    def environment(self) -> dict[str, str]:
        """Returns what a kernel here finds in its environment: nothing that leads to this
        checkout.
        """
        own = ("COURSE_", "PYTHONPATH", "MPLBACKEND", "VIRTUAL_ENV")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(own)}
        return kept | {
            "COURSE_BUDGET": "smoke",
            "COURSE_CACHE": str(self._cache),  # the digits are drawn once for all machines
            "COURSE_DATASET": "strokes",
            "COURSE_DEVICE": "cpu",
            "COURSE_DIR": str(self.course),
            "COURSE_OFFLINE": "1",
            "GIT_CONFIG_GLOBAL": str(self._git),
            "PATH": f"{Path(PYTHON).parent}{os.pathsep}{kept['PATH']}",
            "PYTHONPATH": str(self._stub),
            "STUB_DRIVE": str(self.drive),
            "TQDM_DISABLE": "1",
        }

    def start(self) -> ColabKernel:
        return ColabKernel(self)

    def run_notebook(self, path: Path) -> Any:
        """Returns a notebook after all its cells ran here in a kernel of its own; a cell that
        fails raises its error.
        """
        notebook = read_notebook(path)
        client = NotebookClient(
            notebook,
            km=AsyncKernelManager(kernel_name="colab", kernel_spec_manager=_Specs(kernel_dirs=[])),
            timeout=CELL_TIMEOUT_SECONDS,
            startup_timeout=180,
            resources={"metadata": {"path": str(self.content)}},
        )
        client.execute(env=self.environment(), cleanup_kc=True)
        assert widget_errors(notebook) == []
        return notebook


class ColabKernel:
    """A kernel that a learner types into. Use it in a `with` statement, which ends it."""

    def __init__(self, machine: ColabMachine) -> None:
        self._manager = KernelManager(
            kernel_name="colab", kernel_spec_manager=_Specs(kernel_dirs=[])
        )
        self._manager.start_kernel(cwd=str(machine.content), env=machine.environment())
        client = self._manager.client()
        assert isinstance(client, BlockingKernelClient)
        self._client = client
        self._client.start_channels()
        self._client.wait_for_ready(timeout=180)

    def __enter__(self) -> ColabKernel:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.stop_channels()
        self.cut()

    def run(self, code: str) -> str:
        """Returns what the code printed; an error in it is raised here."""
        printed: list[str] = []

        def note(message: dict[str, Any]) -> None:
            if message["msg_type"] == "stream":
                printed.append(message["content"]["text"])

        reply = self._client.execute_interactive(
            code, output_hook=note, timeout=CELL_TIMEOUT_SECONDS
        )
        content = reply["content"]
        assert content["status"] == "ok", "\n".join(content["traceback"])
        return "".join(printed)

    def cut_while(self, code: str, is_time: Callable[[], bool]) -> None:
        """Runs the code, and cuts the session once `is_time` says so, with the code at work."""
        self._client.execute(code)
        end = time.monotonic() + CELL_TIMEOUT_SECONDS
        while not is_time():
            assert time.monotonic() < end and self._manager.is_alive(), "it was never time to cut"
            time.sleep(0.01)
        self.cut()

    def cut(self) -> None:
        """Kills the kernel without a word."""
        self._manager.shutdown_kernel(now=True)


class _Specs(KernelSpecManager):
    """Knows one kernel, Colab's, whatever is installed here."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        arguments = ["-f", "{connection_file}", f"--IPKernelApp.exec_lines={STARTED}"]
        return KernelSpec(
            argv=[PYTHON, "-m", "ipykernel_launcher", *arguments, "--log-level=ERROR"],
            display_name=kernel_name,
            language="python",
        )
