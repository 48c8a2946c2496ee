"""Figures as JSON: any program reads them."""

from __future__ import annotations

import json
import math

import numpy as np

from glancein_training.figures import to_json


def test_what_is_no_number_is_null() -> None:
    """However deep it stands and whichever kind of float it is; everything else stays."""
    content = {"a": math.nan, "rows": [{"b": math.inf}, (np.float64("nan"), -math.inf)], "c": 0.5, "d": 3}

    told = to_json(content)

    wanted = {"a": None, "rows": [{"b": None}, [None, None]], "c": 0.5, "d": 3}
    assert json.loads(told, parse_constant=str) == wanted


def test_json_is_one_line_when_it_is_not_indented() -> None:
    """As a curve's lines are."""
    assert to_json({"a": math.nan, "b": [1]}, indent=None) == '{"a": null, "b": [1]}'
