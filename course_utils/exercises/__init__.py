"""The exercises of the notebooks: `core` holds what a learner calls, `judge` what judges, `nb00`,
`nb01`, ... the exercises of one notebook each.
"""

from course_utils.exercises.core import check, hint, progress, solution

__all__ = ["check", "hint", "progress", "solution"]
