"""How fast are the course's metrics, given features? FID, KID, precision and recall of 10,000
against 10,000 images with 128 features, beside the same numbers from torchmetrics; nearest
neighbours of 10,000 among 60,000 images; and cost against the number of images.

Both paths run in one process, one after the other, on the same float64 features of the shipped
classifier, each warmed up before. torchmetrics has no precision and recall; its place is taken by
the usual full distance matrices of torch.cdist. Extraction and imports are not timed. Prints one
line of JSON at the end.

    python benchmarks/metrics_speed.py --plot cost.png
"""

from __future__ import annotations

import argparse
import json
import resource
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import psutil
import torch
from torch import Tensor, nn

from course_utils.base.device import make_rng
from course_utils.base.files import atomic_path
from course_utils.data import load_dataset
from course_utils.metrics.features import (
    class_probabilities,
    classifier_extractor,
    extract,
    pixel_extractor,
)
from course_utils.metrics.frechet import fid, kid
from course_utils.metrics.neighbours import density_coverage, nearest_distances, precision_recall
from course_utils.training.runs import machine, pretrained

NUM_SUBSETS, SUBSET_SIZE, K = 100, 1000, 3


class Given(nn.Module):
    """Hands torchmetrics features in place of images."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, features: Tensor) -> Tensor:
        return features


def course_metrics(real: Tensor, fake: Tensor) -> dict[str, Callable[[], list[float]]]:
    """Returns the course's way to each number, error bars included."""

    def both(pair) -> list[float]:
        return [part.value for part in pair]

    return {
        "fid": lambda: [fid(fake, real).value],
        "kid": lambda: [
            kid(
                real,
                fake,
                subset_size=SUBSET_SIZE,
                num_subsets=NUM_SUBSETS,
                rng=torch.Generator().manual_seed(0),
            ).value
        ],
        "precision_recall": lambda: both(precision_recall(real, fake, K)),
    }


def reference_metrics(real: Tensor, fake: Tensor) -> dict[str, Callable[[], list[float]]]:
    """Returns the usual way to each number: torchmetrics, and full distance matrices."""
    from torchmetrics.image.fid import FrechetInceptionDistance
    from torchmetrics.image.kid import KernelInceptionDistance

    def updated(metric) -> float:
        metric.update(real, real=True)
        metric.update(fake, real=False)
        torch.manual_seed(0)
        value = metric.compute()
        return (value[0] if isinstance(value, tuple) else value).item()

    def manifold() -> list[float]:
        radius_real, radius_fake = (
            torch.cdist(x, x).kthvalue(K + 1, dim=1).values for x in (real, fake)
        )
        between = torch.cdist(real, fake)
        inside_real, inside_fake = (
            (between <= radius_real[:, None]).any(0),
            (between <= radius_fake).any(1),
        )
        return [inside_real.double().mean().item(), inside_fake.double().mean().item()]

    given = Given(real.shape[1])
    return {
        "fid": lambda: [updated(FrechetInceptionDistance(feature=given).set_dtype(torch.float64))],
        "kid": lambda: [
            updated(
                KernelInceptionDistance(feature=given, subsets=NUM_SUBSETS, subset_size=SUBSET_SIZE)
            )
        ],
        "precision_recall": manifold,
    }


def timed(function: Callable[[], list[float]]) -> tuple[float, list[float]]:
    """Returns (seconds, what the function returned)."""
    start = time.perf_counter()
    value = function()
    return time.perf_counter() - start, value


def compare(real: Tensor, fake: Tensor) -> dict[str, object]:
    """Returns seconds of both paths and their ratio; both must give the same numbers."""
    few = [x[:SUBSET_SIZE] for x in (real, fake)]
    for path in (course_metrics, reference_metrics):  # threads, kernels and imports
        for function in path(*few).values():
            function()
    rows = {}
    ours, theirs = course_metrics(real, fake), reference_metrics(real, fake)
    for name in ours:
        (seconds, values), (reference_seconds, expected) = timed(ours[name]), timed(theirs[name])
        difference = max(abs(a - b) / abs(b) for a, b in zip(values, expected))
        rows[name] = {
            "seconds": seconds,
            "reference_seconds": reference_seconds,
            "ratio": reference_seconds / seconds,
            "relative_difference": difference,
        }
        print(
            f"  {name}: {seconds:.2f} s, reference {reference_seconds:.2f} s, "
            f"{reference_seconds / seconds:.1f} times faster, differs by {difference:.1e}"
        )
    total, reference = (
        sum(row[key] for row in rows.values()) for key in ("seconds", "reference_seconds")
    )
    print(
        f"  together: {total:.2f} s, reference {reference:.2f} s, {reference / total:.1f} times"
        " faster"
    )
    return {
        "rows": rows,
        "seconds": total,
        "reference_seconds": reference,
        "ratio": reference / total,
    }


def neighbours(queries: Tensor, references: Tensor) -> dict[str, float]:
    """Returns seconds and the peak of the process's memory, everything included, while nearest
    neighbours are searched.
    """
    process, peak, done = psutil.Process(), [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            peak[0] = max(peak[0], process.memory_info().rss)

    # daemon: an error here must not leave the process waiting
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    seconds, _ = timed(lambda: nearest_distances(queries, references, 1)[:, 0].tolist())
    done.set()
    watcher.join()
    return {
        "num_queries": len(queries),
        "num_references": len(references),
        "seconds": seconds,
        "peak_gib": peak[0] / 2**30,
    }


def cost_rows(real: Tensor, fake: Tensor) -> list[dict[str, float]]:
    """Returns seconds of each metric for growing numbers of images."""
    rows = []
    for num in (500, 1000, 2000, 5000, 10_000):
        a, b = real[:num], fake[:num]
        metrics = {
            "fid": lambda a=a, b=b: fid(a, b),
            "kid": lambda a=a, b=b: kid(a, b, subset_size=min(SUBSET_SIZE, len(a) // 2)),
            "precision_recall": lambda a=a, b=b: precision_recall(a, b),
            "density_coverage": lambda a=a, b=b: density_coverage(a, b),
        }
        rows.append(
            {
                "num_images": num,
                **{f"{name}_seconds": timed(function)[0] for name, function in metrics.items()},
            }
        )
        print("  " + ", ".join(f"{key} {value:.3g}" for key, value in rows[-1].items()), flush=True)
    return rows


def plot_cost(rows: list[dict[str, float]], path: Path) -> None:
    """Draws seconds against the number of images, both on logarithmic axes."""
    # here: matplotlib would count among the memory of the search
    from course_utils.plotting import lines

    series = {
        key.removesuffix("_seconds"): [row[key] for row in rows]
        for key in rows[0]
        if key != "num_images"
    }
    figure = lines(
        [row["num_images"] for row in rows],
        series,
        "images in each set",
        "seconds",
        "cost of the metrics, 128 features given",
    )
    figure.axes[0].set(xscale="log", yscale="log")
    with atomic_path(path) as partial:
        figure.savefig(partial, format="png", dpi=140)


def main() -> None:
    """Runs all three parts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--dataset", default="strokes", help="one that a classifier ships for (default: strokes)"
    )
    parser.add_argument("--only", choices=("compare", "neighbours", "cost"), help="one part alone")
    parser.add_argument("--plot", type=Path, help="PNG of cost against the number of images")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", module="torchmetrics")
    dataset = load_dataset(options.dataset)
    result: dict[str, object] = {
        "machine": machine(),
        "dataset": dataset.name,
        "num_threads": torch.get_num_threads(),
    }
    # first: memory that others have used does not come back
    if options.only in (None, "neighbours"):
        images = (dataset.test_images[:10_000], dataset.train_images[:60_000])
        result["neighbours"] = neighbours(*(extract(pixel_extractor(), part) for part in images))
        print(f"  nearest neighbours: {result['neighbours']}")
    classifier = pretrained("classifier", dataset.name).model
    extractor = classifier_extractor(classifier, f"classifier-{dataset.name}")
    chosen = torch.randperm(len(dataset.train_images), generator=make_rng(0))[:10_000]
    fake, real = (
        extract(extractor, dataset.train_images[chosen]),
        extract(extractor, dataset.test_images[:10_000]),
    )
    if options.only in (None, "compare"):
        result["comparison"] = compare(real, fake)
    if options.only in (None, "cost"):
        result["cost"] = cost_rows(real, fake)
        if options.plot:
            plot_cost(result["cost"], options.plot)
        result["class_probabilities_seconds"] = timed(
            lambda: class_probabilities(classifier, dataset.test_images[:10_000])
        )[0]
    result["peak_of_process_gib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps(result))


if __name__ == "__main__":
    main()
