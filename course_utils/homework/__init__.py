"""The homework: change three settings, predict, measure, report; and a class of forty that an
instructor can read in an hour.

What students hand in is data: it is checked against `schema`, escaped wherever it is shown, and
never executed.
"""

from __future__ import annotations
