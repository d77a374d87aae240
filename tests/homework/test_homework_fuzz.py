"""Any name, date or number that the schema lets pass is judged, asked about and written down, and
breaks no table.
"""

from __future__ import annotations

import csv
import io
from datetime import timedelta, timezone

from hypothesis import given, settings
from hypothesis import strategies as st
from submissions import results_dict

from course_utils.homework.class_table import FORMULA, defused, table_text
from course_utils.homework.questions import questions
from course_utils.homework.rule import check_rule, near_equal, parse_moment, words_of
from course_utils.homework.schema import MAX_NUMBER, check_results, clean_name

few = settings(max_examples=25, deadline=None, derandomize=True)
odd = st.sampled_from(
    [*FORMULA, ";", ",", '"', "\u2028", "\u200b", "\u202e", "\u0301", "\x85", " "]
)
texts = st.lists(st.text(max_size=5) | odd, max_size=8).map("".join)


@few
@given(texts)
def test_any_text_is_one_cell_at_either_separator(text):
    for separator, other in (("comma", ";"), ("semicolon", ",")):
        written = table_text([[defused(text), "x"], ["y", defused(text)]], separator)
        lines = list(csv.reader(io.StringIO(written), delimiter=",;"[separator == "semicolon"]))
        assert [len(line) for line in lines] == [2, 2]
        for delimiter in (",", ";", other):
            split = csv.reader(io.StringIO(written), delimiter=delimiter)
            cells = [cell.strip() for line in split for cell in line]
            assert not [cell for cell in cells if cell[:1] in FORMULA and cell]


@few
@given(texts)
def test_any_name_is_refused_or_stays_as_it_was_cleaned(name):
    try:
        cleaned = clean_name(name)
    except ValueError as error:
        assert str(error)
    else:
        assert clean_name(cleaned) == cleaned and "\n" not in cleaned and cleaned.strip()


@few
@given(st.lists(texts, min_size=2, max_size=5))
def test_any_texts_are_compared(written):
    by_place = dict(enumerate(written))
    for pair in near_equal(by_place, 0.0):
        assert pair.first < pair.second and 0 <= pair.similarity <= 1
    assert all(words_of(" ".join(words_of(text))) == words_of(text) for text in written)


zones = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))
dates = st.datetimes(timezones=zones | st.none()).map(
    lambda moment: moment.replace(microsecond=moment.microsecond // 1000 * 1000)
)


@few
@given(st.lists(dates, min_size=4, max_size=4), st.sampled_from(["auto", "minutes"]))
def test_any_dates_are_judged(moments, digits):
    values = results_dict(families=("vae",))
    study, written = values["experiments"][0], [one.isoformat(timespec=digits) for one in moments]
    values["created"], study["planned"] = written[:2]
    study["rows"][4] |= {"started": written[2], "finished": written[3]}
    results = check_results(values)
    assert not check_rule(results).met and questions([results, results])
    assert all(parse_moment(text).tzinfo == timezone.utc for text in written)


numbers = st.floats(-MAX_NUMBER, MAX_NUMBER) | st.sampled_from(
    [0.0, -0.0, 5e-324, -5e-324, 1e-300, MAX_NUMBER, -MAX_NUMBER]
)
errors = st.none() | numbers.map(abs)


@few
@given(st.lists(st.tuples(numbers, errors), min_size=4, max_size=4), st.floats(0, 1e8))
def test_any_numbers_are_asked_about(drawn, seconds):
    values, other = results_dict(1, families=("vae",)), results_dict(2, families=("vae",))
    for name, (value, error) in zip(("FID", "KID", "precision", "recall"), drawn):
        for row in values["experiments"][0]["rows"][:4]:
            row["metrics"][name] |= {"value": value, "error": error}
            row["training_seconds"] = seconds
    both = [check_results(one) for one in (values, other)]
    for question in questions(both):
        assert set(question.students) <= {0, 1} and question.text
        assert "nan" not in question.text and "\n" not in question.text
    assert check_rule(both[0]).points
