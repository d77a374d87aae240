"""What a student has to write in each model: a prediction before the runs, an observation and an explanation after them, in own words."""

from __future__ import annotations

from datetime import datetime, timezone
from itertools import combinations

from course_utils.homework.point import Point
from course_utils.homework.schema import Results, Study
from course_utils.homework.similar import near_equal, words_of

PARTS = ("prediction", "observation", "explanation")
MIN_WORDS, MIN_DIFFERENT = 8, 6
COPIED = 0.8  # of the shorter text's runs of four words stand in the other one


def text_points(study: Study, results: Results) -> list[Point]:
    """Returns a point for each text, one for texts that repeat another, and one for the time of the prediction."""
    return [*(_written(part, getattr(study, part)) for part in PARTS), _own_words(study, results), _in_time(study)]


def _written(part: str, text: str) -> Point:
    problem = too_short(text)
    return Point(part, not problem, problem or f"{len(words_of(text))} words")


def too_short(text: str) -> str:
    """Returns what a text lacks in length, or "" where it says enough."""
    words = words_of(text)
    if not words:
        return "expected a text, got an empty one"
    if len(words) < MIN_WORDS or len(set(words)) < MIN_DIFFERENT:
        return f"expected at least {MIN_WORDS} words, {MIN_DIFFERENT} of them different, got {len(words)} and {len(set(words))}"
    return ""


def _own_words(study: Study, results: Results) -> Point:
    """Looks for a text that repeats another one of this model, or the same part of another model."""
    own = {part: getattr(study, part) for part in PARTS}
    for first, second in combinations(PARTS, 2):
        if near_equal({first: own[first], second: own[second]}, COPIED):
            return Point("own words", False, f"the {second} repeats the {first}; each answers another question")
    for other in results.experiments:
        for part in PARTS:
            if other.family != study.family and near_equal({"own": own[part], "other": getattr(other, part)}, COPIED):
                return Point("own words", False, f"the {part} repeats that of the {other.family}; write what belongs to this model")
    return Point("own words", True, "no text repeats another")


def _in_time(study: Study) -> Point:
    """The prediction comes before the runs of the changed model; the times are self-reported."""
    planned = moment(study.planned)
    started = [moment(row.started) for row in study.rows if row.kind != "baseline"]
    if started and planned > min(started):
        return Point("predicted first", False, f"planned {_minute(planned)}, after the first run of the changed model ({_minute(min(started))})")
    return Point("predicted first", True, f"planned {_minute(planned)}")


def _minute(time: datetime) -> str:
    return f"{time.astimezone(timezone.utc):%Y-%m-%d %H:%M} UTC"


def moment(text: str) -> datetime:
    """Returns the time that an ISO date says; without a zone it is taken as UTC."""
    found = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return found if found.tzinfo is not None else found.replace(tzinfo=timezone.utc)
