"""The exercises of the notebooks: `core` holds what a learner calls, `judge` what judges, `mine`
what she built, `nb00`, `nb01`, ... the exercises of one notebook each.
"""

from course_utils.exercises.core import check, hint, judge_guess, progress, solution
from course_utils.exercises.mine import keep, mine, yours

__all__ = ["check", "hint", "judge_guess", "keep", "mine", "progress", "solution", "yours"]
