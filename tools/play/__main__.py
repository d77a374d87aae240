"""`python -m tools.play --out FOLDER` writes the page of live models."""

from __future__ import annotations

import argparse
from pathlib import Path

from tools.play import write_play

parser = argparse.ArgumentParser(description="write play.html, the page of live models")
parser.add_argument("--out", type=Path, default=Path("build/course"), help="folder for play.html")
print(write_play(parser.parse_args().out))
