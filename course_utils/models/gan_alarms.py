"""What the curves of a GAN say went wrong. Its losses cannot: they do not fall as it improves.

Source: `separation`, the chance that a real image scores higher than a generated one, is the area under the ROC curve (Hanley & McNeil 1982).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

COLLAPSED = 0.6  # of the distance between real images
WON = 0.995  # of the pairs of a real and a generated image
GRACE_EPOCHS = 1  # an untrained generator's images are all alike too


def gan_alarms(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Returns a line for each failure that the last epoch of a GAN's history shows; none while it goes well.

    Collapse: two generated images are less than 60 % as far apart as two real ones. A winning discriminator: it tells more than 99.5 % of pairs
    of a real and a generated image apart, so that the generator learns little from it. The first epoch is not judged.

    Args:
        rows: of a history. Test rows count, which show the end of an epoch; where there are none, the training's means do.
    """
    last = max((row["epoch"] for row in rows), default=0)
    if last <= GRACE_EPOCHS:
        return []
    now = [row for row in rows if row["epoch"] == last]
    split = "test" if any(row["split"] == "test" for row in now) else "train"
    terms = {name: value for row in now if row["split"] == split for name, value in row.items()}
    found = []
    if terms["diversity"] < COLLAPSED * terms["real_diversity"]:
        share = terms["diversity"] / terms["real_diversity"]
        found.append(f"epoch {last}: mode collapse: generated images differ {share:.0%} as much as real ones do; model.r1_weight helps.")
    if terms["separation"] > WON:
        told = f"{terms['separation']:.1%}"
        found.append(f"epoch {last}: the discriminator has won: it tells {told} of pairs apart; model.r1_weight helps.")
    return found
