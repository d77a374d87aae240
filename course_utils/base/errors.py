"""The one error type for things that a user can put right. It knows nothing of the rest of the
package.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class CourseError(ValueError):
    """What was expected, what was got and what to do about it. The command line prints it as one
    line, without a traceback.
    """


def unknown(kind: str, got: object, valid: Iterable[str]) -> CourseError:
    """Returns the error for a name that does not exist, with the valid names and the likeliest one.

    Args:
        kind: what the name stands for, such as "dataset".
        got: the name that was given.
        valid: every name that would have been accepted.
    """
    names = sorted(valid)
    close = get_close_matches(str(got), names, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return CourseError(f"unknown {kind} {str(got)!r}; valid: {', '.join(names)}.{hint}")
