"""A batch decoded by several threads gives what one thread gives, in the same order."""

from __future__ import annotations

import numpy as np
import pytest
from codec_profiles import make_profile

from isthmus.decoder import Backend, make_codec
from isthmus.errors import ChecksumError, FrameError, OptionError


@pytest.mark.parametrize("threads", [1, 2, 3, 7, 40])
def test_order_and_errors(threads: int) -> None:
    profile = make_profile(4, (8, 24))
    codec = make_codec(profile, "native")
    rng = np.random.default_rng(5)
    tensors = [rng.integers(0, 4, (8, 24)).astype(np.uint8) for _ in range(11)]
    frames = [codec.encode_levels(0, index, levels) for index, levels in enumerate(tensors)]
    frames[4] = frames[4][:-1] + bytes([frames[4][-1] ^ 1])
    found = codec.decode_batch(frames, threads=threads)
    assert len(found) == 11
    for index, (levels, result) in enumerate(zip(tensors, found, strict=True)):
        if index == 4:
            assert isinstance(result, ChecksumError)
        else:
            assert not isinstance(result, FrameError)
            assert result.sequence == index
            assert np.array_equal(result.levels, levels)
    assert codec.decode_batch([], threads=threads) == []


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_no_threads_are_refused(backend: Backend) -> None:
    codec = make_codec(make_profile(4, (2, 3)), backend)
    with pytest.raises(OptionError, match=r"threads: is 0; allowed: 1 or more"):
        codec.decode_batch([], threads=0)
