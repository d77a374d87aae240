"""Interactive pictures. The only package that imports ipywidgets; each slider calls a plain function that a test can call.

Only what ipywidgets 7.7 and 8 share is used. A notebook shows a static picture in the same cell, for readers without a running kernel.
"""

from __future__ import annotations

from course_utils.widgets.controls import Panel, latent_explorer, latent_image, moved, png_bytes
from course_utils.widgets.diffusion import (
    digit_drawer,
    guidance_caption,
    guidance_explorer,
    guidance_picture,
    label_draws,
    label_image,
    label_picture,
    noise_level_caption,
    noise_level_explorer,
    noise_level_image,
    noise_level_picture,
    step_caption,
    step_image,
    step_picture,
    step_scrubber,
)
from course_utils.widgets.elbo import elbo_explorer, elbo_picture
from course_utils.widgets.metrics import constructed_probabilities, fid_explorer, fid_picture, inception_explorer, inception_picture
from course_utils.widgets.walks import (
    latent_pad,
    manifold_sheet,
    pad_image,
    temperature_explorer,
    temperature_image,
    truncation_explorer,
    truncation_image,
    walk_image,
    walk_scrubber,
)

__all__ = [
    "Panel",
    "constructed_probabilities",
    "digit_drawer",
    "elbo_explorer",
    "elbo_picture",
    "fid_explorer",
    "fid_picture",
    "guidance_caption",
    "guidance_explorer",
    "guidance_picture",
    "inception_explorer",
    "inception_picture",
    "label_draws",
    "label_image",
    "label_picture",
    "latent_explorer",
    "latent_image",
    "latent_pad",
    "manifold_sheet",
    "moved",
    "noise_level_caption",
    "noise_level_explorer",
    "noise_level_image",
    "noise_level_picture",
    "pad_image",
    "png_bytes",
    "step_caption",
    "step_image",
    "step_picture",
    "step_scrubber",
    "temperature_explorer",
    "temperature_image",
    "truncation_explorer",
    "truncation_image",
    "walk_image",
    "walk_scrubber",
]
