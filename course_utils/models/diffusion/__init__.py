"""Diffusion: the model, its network, noise schedules, samplers, the variational bound, and exact
scores to check them with.
"""

from course_utils.base.lazy import lazy_door

__getattr__, __dir__ = lazy_door(
    __name__,
    {
        "course_utils.models.diffusion.exact": ["GaussianMixture", "ring"],
        "course_utils.models.diffusion.model": ["Diffusion", "DiffusionConfig", "draw_times"],
        "course_utils.models.diffusion.samplers": ["sample"],
        "course_utils.models.diffusion.schedules": ["SCHEDULES", "betas", "make_schedule"],
        "course_utils.models.diffusion.variational_bound": ["variational_bound"],
    },
)
