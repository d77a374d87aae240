"""Figures of the course: tensors and rows in, a matplotlib Figure out. Nothing here trains, reads
files or shows anything.
"""

from course_utils.base.lazy import lazy_door

__getattr__, __dir__ = lazy_door(
    __name__,
    {
        "course_utils.plotting.charts": [
            "comparison",
            "curves",
            "fits",
            "histograms",
            "latent_map",
            "lines",
            "ranked_bars",
            "roc_curves",
            "scatter_band",
            "stacked_bars",
            "training_curves",
        ],
        "course_utils.plotting.pictures": [
            "image_grid",
            "image_rows",
            "image_table",
            "training_film",
            "weight_images",
        ],
        "course_utils.plotting.flows": ["flow_film", "flow_paths"],
        "course_utils.plotting.gan": ["discriminators", "gan_curves", "point_frames"],
        "course_utils.plotting.vae_mechanisms": [
            "encoder_ellipses",
            "holes_on_plane",
            "reparameterisation_graph",
            "vae_diagram",
        ],
        "course_utils.plotting.gan_mechanisms": ["gan_game"],
        "course_utils.plotting.diffusion_mechanisms": [
            "film_modulation",
            "guidance_arrows",
            "unet_diagram",
        ],
        "course_utils.plotting.text_mechanisms": ["text_to_image_diagram"],
        "course_utils.plotting.metrics": [
            "comparison_with_floor",
            "neighbour_balls",
            "ssim_map",
            "verdict_table",
        ],
        "course_utils.plotting.compare": ["comparison_panels", "quality_and_cost"],
    },
)
