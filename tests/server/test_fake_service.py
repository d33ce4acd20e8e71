"""The double that the links' tests lean on answers and refuses as it says."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from fake_service import FakeService, expected_outputs

from isthmus.errors import ChecksumError, DigestUnknownError, ModelUnknownError
from isthmus.server.types import Origin

ORIGIN = Origin("http", "7")


def test_it_answers_a_frame_of_its_profile() -> None:
    service = FakeService()
    frame = service.digits.frame(sequence=513, payload=b"abc")
    answer = asyncio.run(service.answer(frame, ORIGIN))
    assert (answer.sequence, answer.device, answer.frame_bytes) == (513, "7", 15)
    assert np.array_equal(answer.outputs["probabilities"], expected_outputs(frame))
    assert [top.value for top in answer.top] == sorted(expected_outputs(frame))[:-6:-1]


def test_it_refuses_what_a_fleet_refuses() -> None:
    service = FakeService()
    frame = service.digits.frame()
    with pytest.raises(ChecksumError):
        asyncio.run(service.answer(frame[:-1] + b"?", ORIGIN))
    with pytest.raises(DigestUnknownError):
        asyncio.run(service.answer(frame[:4] + b"??" + frame[6:], ORIGIN))
    with pytest.raises(ModelUnknownError):
        asyncio.run(service.answer(frame, ORIGIN, model="other"))
