"""Inverse problems: what a measurement y = A x + noise leaves open about the image x, and how each
family fills it in.
"""

from course_utils.base.lazy import lazy_door

__getattr__, __dir__ = lazy_door(
    __name__,
    {
        "course_utils.inverse.problems": ["PROBLEMS", "make_problem"],
        "course_utils.inverse.solve": ["METHODS", "gaussian_prior", "recover", "score_recoveries"],
    },
)
