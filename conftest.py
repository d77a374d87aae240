"""Settings of every test, notebooks under nbval included.

No network, a few training steps, the embedded dataset, no progress bars.
"""

import os

os.environ["COURSE_OFFLINE"] = "1"
os.environ["COURSE_BUDGET"] = "smoke"
os.environ["COURSE_PROGRESS"] = "off"
os.environ["TQDM_DISABLE"] = "1"
os.environ.setdefault("COURSE_DATASET", "strokes")
os.environ.pop(
    "MPLBACKEND", None
)  # Jupyter exports its own, which kernels of this environment would inherit
