"""Interactive pictures. The only package that imports ipywidgets; each slider calls a plain function that a test can call.

Only what ipywidgets 7.7 and 8 share is used. A notebook shows a static picture in the same cell, for readers without a running kernel.
"""

from course_utils.widgets.elbo import elbo_explorer, elbo_picture
from course_utils.widgets.latent import Panel, latent_explorer, latent_image, moved, png_bytes
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
    "elbo_explorer",
    "elbo_picture",
    "fid_explorer",
    "fid_picture",
    "inception_explorer",
    "inception_picture",
    "latent_explorer",
    "latent_image",
    "latent_pad",
    "manifold_sheet",
    "moved",
    "pad_image",
    "png_bytes",
    "temperature_explorer",
    "temperature_image",
    "truncation_explorer",
    "truncation_image",
    "walk_image",
    "walk_scrubber",
]
