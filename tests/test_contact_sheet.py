"""Contact sheets: small images enlarged, large ones reduced, white where there are none."""

from __future__ import annotations

import numpy as np
import pytest

from active.pool_report import contact_sheet


@pytest.mark.parametrize(("side", "shown"), [(8, 48), (28, 56), (64, 64), (224, 112), (500, 100)])
def test_images_of_any_size(side: int, shown: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (9, 3, side, side), dtype=np.uint8)
    sheet = contact_sheet(images)
    assert sheet.shape == (2 * (shown + 2), 8 * (shown + 2), 3)
    assert sheet.dtype == np.uint8
    first = sheet[1 : shown + 1, 1 : shown + 1].transpose(2, 0, 1)
    if shown < side:
        times = side // shown
        blocks = [
            [images[0, :, y : y + times, x : x + times].mean((1, 2)) for x in range(0, side, times)]
            for y in range(0, side, times)
        ]
        assert np.abs(first - np.array(blocks).transpose(2, 0, 1)).max() <= 0.5 + 1e-3
    else:
        assert np.array_equal(first, np.kron(images[0], np.ones((shown // side,) * 2, np.uint8)))
    assert (sheet[shown + 2 :, shown + 2 :] == 255).all()


def test_what_does_not_divide_is_cut_off_and_gray_becomes_color() -> None:
    images = np.full((1, 1, 193, 225), 7, np.uint8)
    sheet = contact_sheet(images)
    assert sheet.shape == (98, 8 * 114, 3)
    assert (sheet[1:97, 1:113] == 7).all()
