"""Exercise checks: `core` holds the machinery, `nb00`, `nb01`, ... the exercises of one notebook each.

A notebook writes `from course_utils.checks.core import check, hint, solution`.
"""
