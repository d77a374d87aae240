"""Settings of every test, notebooks under nbval included.

No network, a few training steps, the embedded dataset, no progress bars.
"""

import atexit
import os
import shutil
import tempfile

os.environ["COURSE_OFFLINE"] = "1"
os.environ["COURSE_BUDGET"] = "smoke"
os.environ["COURSE_PROGRESS"] = "off"
os.environ["TQDM_DISABLE"] = "1"
os.environ.setdefault("COURSE_DATASET", "strokes")
os.environ.pop(
    "MPLBACKEND", None
)  # Jupyter exports its own, which kernels of this environment would inherit

# What the notebooks keep of the learner's models does not meet what an earlier run kept.
_folder = tempfile.mkdtemp(prefix="my-models-")
atexit.register(shutil.rmtree, _folder, ignore_errors=True)
os.environ["COURSE_MY_MODELS"] = os.path.join(_folder, "my_models.py")

# Each kernel, and each other process that the tests start, imports torch. Where Python is told not
# to keep compiled modules, all of them would compile its sources again, which takes longer than
# everything else in most of them. They share what is compiled, and it goes when the tests end.
if os.environ.pop("PYTHONDONTWRITEBYTECODE", ""):
    os.environ["PYTHONPYCACHEPREFIX"] = os.path.join(_folder, "bytecode")
