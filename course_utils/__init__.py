"""Support package of the course "Generative models for images": the names that notebooks use most,
and the rooms behind them.

Importing this package is cheap on purpose: nothing is imported, seeded, printed or downloaded until
you ask for it.
"""

from course_utils.base.lazy import lazy_door

__version__ = "0.1.0"
__getattr__, __dir__ = lazy_door(
    __name__,
    {
        "course_utils.base.config": ["override"],
        "course_utils.base.device": ["budget", "make_rng"],
        "course_utils.base.errors": ["CourseError"],
        "course_utils.base.images": [
            "signed_to_uint8",
            "signed_to_unit",
            "uint8_to_signed",
            "uint8_to_unit",
            "unit_to_signed",
        ],
        "course_utils.data": ["load_dataset"],
        "course_utils.models.base": ["Batch"],
        "course_utils.notebook": ["setup", "show", "show_source"],
        "course_utils.plotting.canvas": ["animate"],
        "course_utils.training.config": ["TrainConfig"],
        "course_utils.training.fit": ["fit", "loss_terms"],
        "course_utils.training.presets": ["PRESETS", "preset"],
        "course_utils.training.registry": ["REGISTRY", "build"],
        "course_utils.training.runs": ["pretrained", "pretrained_names", "train_or_load"],
    },
)
