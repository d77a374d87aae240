"""The page that lies beside every set of weights: what it is, where it comes from, how good it is, how to make it again."""

from __future__ import annotations

from typing import Any

from course_utils.config import flatten_dict

BINARY_USE = (
    "Likelihoods of black and white images, next to published ones: `course evaluate pretrained:vae-binary/mnist --against mnist --metrics nll`. "
    "The terms below are of pixels drawn black and white at random; `loss` is minus the importance-weighted bound of training."
)
USES = {
    "vae": "Sampling, reconstructing and exploring small images in the course. Not a likelihood for binary images: its pixels are grey.",
    "classifier": "Judging generated images of the same dataset; features for metrics. Compare scores only where they come from these weights.",
}


def model_card(record: dict[str, Any]) -> str:
    """Returns the card of a run as Markdown, made from its record alone.

    Args:
        record: what `experiment.json` holds.
    """
    experiment = record["experiment"]
    binary = experiment["model"].get("binarisation") == "dynamic"
    lines = [
        f"# {experiment['family']} trained on {experiment['dataset']}",
        "",
        BINARY_USE if binary else USES.get(experiment["family"], "Teaching."),
        "",
        f"- Command: `{record['command'] or 'trained from Python, see the settings below'}`",
        f"- Seed: {experiment['seed']}",
        f"- Data: {experiment['dataset']}, {record['num_train_images']:,} training images; SHA-256 of pixels and labels `{record['dataset_sha256']}`",
        f"- Training: {record['training_seconds']:.1f} s on {record['machine']}",
        f"- Weights: {record['weights_dtype']}, SHA-256 `{record['weights_sha256']}`",
        f"- Versions: {', '.join(f'{name} {number}' for name, number in record['versions'].items())}",
        "",
        "| Measured on the test images | Mean | Standard error | Images |",
        "|---|---|---|---|",
    ]
    for name, metric in record["metrics"].items():
        lines.append(f"| {name} | {metric['value']:.4f} | {metric['standard_error']:.4f} | {metric['num_images']:,} |")
    lines += ["", "| Setting | Value |", "|---|---|"]
    settings = flatten_dict({"model": experiment["model"], "train": experiment["train"]})
    lines += [f"| {name} | {value} |" for name, value in settings.items()]
    return "\n".join(lines) + "\n"
