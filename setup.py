"""What a wheel holds beside the package: the notebooks, the homework and the pages, copied from
where they lie. Everything else about the package stands in pyproject.toml.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))  # pip builds without the project on the path

from course_utils.base.files import HANDOUT  # noqa: E402
from course_utils.cli.course_files import files_of_course  # noqa: E402


class BuildWithNotebooks(build_py):
    """Copies what learners work with into the package, where `course new-notebooks` finds it."""

    def run(self) -> None:
        """Builds the package, without what an earlier build left behind."""
        if not self.editable_mode:
            shutil.rmtree(Path(self.build_lib) / "course_utils", ignore_errors=True)
        super().run()
        if not self.editable_mode:
            for name, source in files_of_course(HERE).items():
                target = Path(self.build_lib) / "course_utils" / HANDOUT / name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)

    def get_source_files(self) -> list[str]:
        """Returns what a source distribution needs, the notebooks among it."""
        return [*super().get_source_files(), *files_of_course(HERE)]


setup(cmdclass={"build_py": BuildWithNotebooks})
