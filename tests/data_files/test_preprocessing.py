"""Preprocessing: the values, the option's text and the profile's form."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from isthmus.errors import BundleFormatError, OptionError
from isthmus_gen.data import Preprocessing

BYTES = np.arange(256, dtype=np.uint8)


def test_none_keeps_the_values() -> None:
    got = Preprocessing.parse("none").apply(BYTES)
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, np.arange(256))


def test_unit_is_the_nearest_float_to_the_quotient() -> None:
    # IEEE division rounds correctly, so the float64 quotient rounded once more is the same here.
    want = np.array([value / 255 for value in range(256)]).astype(np.float32)
    np.testing.assert_array_equal(Preprocessing.parse("unit").apply(BYTES), want)


def test_signed_hits_both_ends() -> None:
    got = Preprocessing.parse("signed").apply(BYTES)
    assert got[0] == -1.0
    assert got[255] == 1.0
    np.testing.assert_allclose(got, (BYTES.astype(float) - 127.5) / 127.5, rtol=0, atol=6e-8)


def test_affine_takes_scale_and_offset() -> None:
    step = Preprocessing.parse("0.5,-3")
    assert (step.scale, step.offset) == (0.5, -3.0)
    np.testing.assert_array_equal(step.apply(np.array([[6.0, 8.0]])), [[0.0, 1.0]])


def test_the_input_is_not_changed() -> None:
    x = np.ones((2, 2), np.float32)
    for text in ("none", "unit", "signed", "2,1"):
        Preprocessing.parse(text).apply(x)[...] = 9
    np.testing.assert_array_equal(x, np.ones((2, 2)))


@pytest.mark.parametrize("text", ["none", "unit", "signed", "0.0078125,-1", "1e-3,0"])
def test_profile_form_comes_back(text: str) -> None:
    step = Preprocessing.parse(text)
    assert Preprocessing.from_dict(step.as_dict()) == step


@pytest.mark.parametrize("text", ["", "x", "1", "1,2,3", "nan,1", "1,inf", "0,1", "a,b", "unit,1"])
def test_bad_texts_are_refused(text: str) -> None:
    with pytest.raises(OptionError, match="allowed: none, unit"):
        Preprocessing.parse(text)


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({}, "profile.preprocessing.kind"),
        ({"kind": "other"}, "profile.preprocessing.kind"),
        ({"kind": "unit", "scale": 1.0}, "profile.preprocessing"),
        ({"kind": "affine", "scale": 1.0}, "profile.preprocessing"),
        ({"kind": "affine", "scale": "1", "offset": 0.0}, "profile.preprocessing.scale"),
        ({"kind": "affine", "scale": True, "offset": 0.0}, "profile.preprocessing.scale"),
        ({"kind": "affine", "scale": 0.0, "offset": 0.0}, "profile.preprocessing.scale"),
        ({"kind": "affine", "scale": 1.0, "offset": float("nan")}, "profile.preprocessing.offset"),
    ],
)
def test_bad_fields_are_refused(fields: dict[str, Any], path: str) -> None:
    with pytest.raises(BundleFormatError) as caught:
        Preprocessing.from_dict(fields)
    assert caught.value.path == path
