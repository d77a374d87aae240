"""The lines that a sweep prints: what is finished, and how long the rest will take."""

from __future__ import annotations

import time
from collections.abc import Mapping


class SweepProgress:
    """Counts epochs, since runs of one sweep may differ in length, and takes the time of the rest from the pace until now."""

    def __init__(self, epochs: Mapping[str, int], num_runs: int) -> None:
        """Prints what is there already.

        Args:
            epochs: of each run that is still to be done, by key.
            num_runs: finished ones included.
        """
        self.epochs, self.num_runs = dict(epochs), num_runs
        self.start = time.monotonic()
        self.done_epochs = 0
        self.of_this_run = 0
        self.left = set(epochs)
        self.announced = False
        found = num_runs - len(epochs)
        print(f"{num_runs} runs, {found} of them finished before" if found else f"{num_runs} runs", flush=True)

    @property
    def seconds_left(self) -> float | None:
        """Estimated seconds until all runs are done; None as long as nothing is known."""
        done = self.done_epochs + self.of_this_run
        remaining = sum(self.epochs[key] for key in self.left) - self.of_this_run
        return (time.monotonic() - self.start) / done * remaining if done else None

    def epoch_finished(self) -> None:
        """Counts one epoch of the run that is under way; the first one gives the first estimate."""
        self.of_this_run += 1
        if not self.announced:
            print(f"  about {in_words(self.seconds_left or 0.0)} for all of them", flush=True)
            self.announced = True

    def run_finished(self, key: str, name: str, *, failed: bool = False, trained: bool = True) -> None:
        """Prints one line for a run that is done. One that was only found says nothing about the pace."""
        self.left.discard(key)
        self.done_epochs += self.epochs[key] if trained else 0
        self.of_this_run = 0
        place = f"  run {self.num_runs - len(self.left)} of {self.num_runs} ({name})"
        rest = f"; about {in_words(self.seconds_left)} left" if self.left and self.seconds_left is not None else ""
        print(f"{place} {'failed' if failed else 'finished'}{rest}", flush=True)


def in_words(seconds: float) -> str:
    """Returns a duration such as "40 s" or "12 min"."""
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
