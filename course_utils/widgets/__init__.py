"""Interactive pictures, a plane to drag in and a field to draw on. The only package that imports
ipywidgets and anywidget; each slider calls a plain function that a test can call.

Only what ipywidgets 7.7 and 8 share is used. A notebook shows a static picture in the same cell,
for readers without a running kernel.
"""

from course_utils.base.lazy import lazy_door

__getattr__, __dir__ = lazy_door(
    __name__,
    {
        "course_utils.widgets.canvas": ["DigitField", "LatentPlane", "draw_digit"],
        "course_utils.widgets.captions": ["caption_box", "caption_draws", "caption_picture"],
        "course_utils.widgets.controls": [
            "CountSlider",
            "LivePicture",
            "Panel",
            "Slider",
            "latent_explorer",
            "latent_image",
            "moved",
            "png_bytes",
        ],
        "course_utils.widgets.diffusion": [
            "digit_drawer",
            "guidance_caption",
            "guidance_explorer",
            "guidance_picture",
            "label_draws",
            "label_image",
            "label_picture",
            "noise_level_caption",
            "noise_level_explorer",
            "noise_level_image",
            "noise_level_picture",
            "step_caption",
            "step_image",
            "step_picture",
            "step_scrubber",
        ],
        "course_utils.widgets.elbo": ["elbo_explorer", "elbo_picture"],
        "course_utils.widgets.metrics": [
            "constructed_probabilities",
            "fid_explorer",
            "fid_picture",
            "inception_explorer",
            "inception_picture",
        ],
        "course_utils.widgets.walks": [
            "latent_pad",
            "manifold_sheet",
            "temperature_explorer",
            "temperature_image",
            "truncation_explorer",
            "truncation_image",
            "walk_image",
            "walk_scrubber",
        ],
    },
)
