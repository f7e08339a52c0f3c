"""Strong views: each operation against torchvision's for one sample, maps, cutout."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torchvision.transforms.v2.functional as tv
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from datamodules import recolor, strong
from datamodules.draws import uniform
from datamodules.strong import OPERATIONS, StrongViews
from tests.view_images import CHANNELS, floats, make_images


def numbers(name: str, n: int) -> Tensor:
    return torch.full((n,), OPERATIONS.index(name))


LEVELS = [0.0, 0.1, 0.35, 0.5, 0.77, 0.999]


def by_torchvision(name: str, image: Tensor, level: float) -> Tensor:
    """One color operation of `OPERATIONS` on one float image (C, H, W)."""
    factor = 0.05 + 0.9 * level
    if name == "equalize":  # of floats torchvision takes the level below, not the nearest
        return tv.equalize((image * 255).round().to(torch.uint8)) / 255
    if name in ("autocontrast", "solarize", "posterize"):
        arguments = {"solarize": [level], "posterize": [int(4 + 4 * level)]}.get(name, [])
        return getattr(tv, name)(image, *arguments)
    if name in ("brightness", "contrast", "sharpness", "color"):
        name = "saturation" if name == "color" else name
        return getattr(tv, f"adjust_{name}")(image, factor)
    return image


@CHANNELS
@pytest.mark.parametrize("name", OPERATIONS)
def test_recolor_equals_torchvisions(name: str, channels: int) -> None:
    images, level = floats(6, channels, 30, 24), torch.tensor(LEVELS)
    images[2] = images[2] * 0.3 + 0.2
    images[3] = 0.4
    got = recolor.recolor(images, recolor.color_of(numbers(name, 6), level, channels))
    for image, number, result in zip(images, level.tolist(), got, strict=True):
        want = by_torchvision(name, image, number)
        torch.testing.assert_close(result, want, atol=1e-5, rtol=0)
        if want is image:
            assert torch.equal(result, image)


@CHANNELS
@pytest.mark.parametrize("side", [8, 16, 32])
def test_equalize_equals_torchvisions_on_uint8(side: int, channels: int) -> None:
    images = make_images(12, channels, side)
    images[0], images[1] = images[0] // 3 + 40, 7
    images[2] = torch.where(images[2] > 128, 255, 0)
    assert torch.equal(recolor.equalize(images.float() / 255), tv.equalize(images).float() / 255)


@pytest.mark.parametrize("warn_only", [True, False])
def test_histograms_need_no_deterministic_algorithm(warn_only: bool) -> None:
    was = torch.get_deterministic_debug_mode()
    torch.use_deterministic_algorithms(True, warn_only=warn_only)
    try:
        with recolor._in_any_order():
            assert not torch.are_deterministic_algorithms_enabled()
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.is_deterministic_algorithms_warn_only_enabled() == warn_only
    finally:
        torch.set_deterministic_debug_mode(was)
    with recolor._in_any_order():
        pass
    assert torch.get_deterministic_debug_mode() == was


def warped_by_torchvision(name: str, image: Tensor, level: float) -> Tensor:
    """One geometric operation on one image (C, H, W); shears keep the corner, as PIL's do."""
    signed, bilinear = 2 * level - 1, tv.InterpolationMode.BILINEAR
    if name == "rotate":
        return tv.rotate(image, 30 * signed, bilinear)
    shear = math.degrees(math.atan(0.1 * signed))
    height, width = image.shape[1:]
    translate, shears = {
        "shear_x": ([0.0, 0.0], [shear, 0.0]),
        "shear_y": ([0.0, 0.0], [0.0, shear]),
        "translate_x": ([-0.1 * signed * width, 0.0], [0.0, 0.0]),
        "translate_y": ([0.0, -0.1 * signed * height], [0.0, 0.0]),
    }[name]
    return tv.affine(image, 0.0, translate, 1.0, shears, bilinear, center=[0.0, 0.0])


@CHANNELS
@pytest.mark.parametrize("name", ["rotate", "shear_x", "shear_y", "translate_x", "translate_y"])
def test_warp_equals_torchvisions(name: str, channels: int) -> None:
    images, level = floats(6, channels, 30, 24), torch.tensor(LEVELS)
    got = strong.warp(images, strong.affine(numbers(name, 6), level, 30, 24))
    for image, number, result in zip(images, LEVELS, got, strict=True):
        want = warped_by_torchvision(name, image, number)
        torch.testing.assert_close(result, want, atol=1e-4, rtol=0)
    assert not torch.allclose(got[0], images[0], atol=0.1)


def test_composed_maps_act_in_order() -> None:
    images, level = floats(2, 3, 20, 20), torch.tensor([1.0, 0.0])
    shift = strong.affine(numbers("translate_x", 2), level, 20, 20)  # by 2 pixels
    turn = strong.affine(numbers("rotate", 2), torch.ones(2), 20, 20)
    mirror = torch.diag(torch.tensor([-1.0, 1.0, 1.0])).expand(2, 3, 3)
    got = strong.warp(images, strong.compose(strong.compose(mirror, shift), turn))
    want = strong.warp(strong.warp(images.flip(3), shift), turn)
    middle = (..., slice(5, 15), slice(5, 15))  # one map keeps what two lose beyond the border
    torch.testing.assert_close(got[middle], want[middle], atol=1e-4, rtol=0)
    other = strong.warp(images, strong.compose(strong.compose(mirror, turn), shift))
    assert not torch.allclose(got[middle], other[middle], atol=0.1)


@CHANNELS
@pytest.mark.parametrize("side", [28, 32])
def test_strong_without_operations_is_the_image(side: int, channels: int) -> None:
    images, indices = make_images(6, channels, side), torch.arange(6)
    got = StrongViews(flip=False, ops=0, cutout=0.0)(images, indices, 0)
    torch.testing.assert_close(got, images / 255, atol=1e-5, rtol=0)
    view = StrongViews(flip=False, cutout=0.0)
    alone = view._operate(images / 255, torch.zeros(6, 4).long(), torch.rand(6, 4), torch.zeros(6))
    torch.testing.assert_close(alone, images / 255, atol=1e-5, rtol=0)
    flipped = StrongViews(ops=0, cutout=0.0)(images, indices, 0)
    is_flipped = uniform(0, indices, 5)[:, 4] < 0.5
    want = torch.where(is_flipped[:, None, None, None], images.flip(3), images) / 255
    torch.testing.assert_close(flipped, want, atol=1e-5, rtol=0)


def test_cutout_is_a_square_of_every_side_and_filled() -> None:
    n, fill = 300, torch.tensor([0.1, 0.2, 0.3])[:, None, None]
    view = StrongViews(flip=False, ops=0, fill=fill.flatten().tolist())
    got = view(torch.ones(n, 3, 32, 24), torch.arange(n), 0)
    sides = set()
    for result, draws in zip(got, uniform(0, torch.arange(n), 8)[:, 5:].tolist(), strict=True):
        side, row, column = 1 + int(12 * draws[0]), int(32 * draws[1]), int(24 * draws[2])
        top, left = row - side // 2, column - side // 2
        want = torch.ones(3, 32, 24)
        want[:, max(top, 0) : top + side, max(left, 0) : left + side] = fill
        torch.testing.assert_close(result, want)
        sides.add(side)
    assert sides == set(range(1, 13))


def test_strong_views_of_one_image_differ() -> None:
    images = make_images(1, 3, 32).expand(40, -1, -1, -1)
    got = StrongViews()(images, torch.arange(40), 0).flatten(1)
    assert (torch.cdist(got, got) + torch.eye(40) > 1e-3).all()
    operations = (uniform(0, torch.arange(5000), 12)[:, 8:] * len(OPERATIONS)).long()
    share = torch.bincount(operations.flatten(), minlength=14) / operations.numel()
    assert (share - 1 / 14).abs().max() < 0.01


class Calls(TorchDispatchMode):
    """Counts what torch is asked for; on a GPU most of it is a launch of a kernel."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        return func(*args, **(kwargs or {}))


def test_what_needs_no_pixels_is_computed_once_for_all_operations() -> None:
    counts = []
    for ops in (3, 4):
        with Calls() as calls:
            StrongViews(ops=ops)(make_images(2, 3, 32), torch.arange(2), 0)
        counts.append(calls.count)
    assert counts[1] - counts[0] < 130  # 175 where each operation computes its masks and its map
