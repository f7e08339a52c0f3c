"""Color, crop and blur against torchvision's for one sample; what holds for every view."""

from __future__ import annotations

import pytest
import torch
import torchvision.transforms.v2.functional as tv
from torch import Tensor

from datamodules import color, transforms
from datamodules.draws import uniform
from datamodules.strong import StrongViews
from datamodules.views import CropFlipViews, FixedViews, SimCLRViews
from tests.view_images import CHANNELS, floats, make_images


@CHANNELS
@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation", "hue"])
def test_adjust_equals_torchvisions(name: str, channels: int) -> None:
    images = floats(9, channels, 12, 14)
    images[0] = 0.0
    images[1] = images[1, :1]
    factors = torch.linspace(-0.5, 0.5, 9) if name == "hue" else torch.linspace(0, 2, 9)
    kept = images.clone()
    got = getattr(color, f"adjust_{name}")(images, factors)
    for image, factor, result in zip(images, factors.tolist(), got, strict=True):
        want = getattr(tv, f"adjust_{name}")(image, factor)
        torch.testing.assert_close(result, want, atol=2e-6, rtol=0)
    assert torch.equal(images, kept)


def test_hue_of_pure_colors_goes_round() -> None:
    red, green, blue = torch.eye(3).view(3, 1, 3, 1, 1)
    third = torch.tensor([1 / 3])
    torch.testing.assert_close(color.adjust_hue(red, third), green)
    torch.testing.assert_close(color.adjust_hue(green, third), blue)
    torch.testing.assert_close(color.adjust_hue(blue, third), red)


@CHANNELS
def test_grayscale_equals_torchvisions_where_asked(channels: int) -> None:
    images = floats(4, channels)
    got = color.grayscale(images, torch.tensor([True, False, True, False]))
    want = tv.rgb_to_grayscale(images, num_output_channels=channels)
    torch.testing.assert_close(got[::2], want[::2] if channels == 3 else images[::2])
    assert torch.equal(got[1::2], images[1::2])


def test_jitter_is_the_four_operations_in_order_and_only_where_drawn() -> None:
    images, draws = floats(6), uniform(0, torch.arange(6), 5)
    draws[::2, 4], draws[1::2, 4] = 0.9, 0.1
    got = color.jitter(images, draws, 0.4, probability=0.8)
    torch.testing.assert_close(got[::2], images[::2], atol=1e-6, rtol=0)
    for i in (1, 3, 5):
        b, c, s, h = (0.8 * draws[i, :4] - 0.4).tolist()
        want = tv.adjust_contrast(tv.adjust_brightness(images[i], 1 + b), 1 + c)
        want = tv.adjust_hue(tv.adjust_saturation(want, 1 + s), h / 4)
        torch.testing.assert_close(got[i], want, atol=2e-6, rtol=0)


BOXES = [(0, 0, 16, 20), (3, 5, 8, 10), (2, 1, 7, 5), (15, 19, 1, 1), (0, 3, 13, 17), (9, 2, 3, 16)]


@CHANNELS
def test_crop_resize_equals_torchvisions_and_stays_inside(channels: int) -> None:
    images = floats(len(BOXES), channels, 16, 20)
    flipped = torch.arange(len(BOXES)) % 2 == 1
    boxes = torch.tensor(BOXES, dtype=torch.float32)
    got = transforms.crop_resize(images, boxes)
    mirrored = transforms.crop_resize(images, boxes, flipped)
    for i, box in enumerate(BOXES):
        want = tv.resized_crop(images[i], *box, size=[16, 20], antialias=False)
        torch.testing.assert_close(got[i], want, atol=1e-5, rtol=0)
        torch.testing.assert_close(mirrored[i], got[i].flip(2) if i % 2 else got[i])


def test_crop_boxes_are_spread_as_asked() -> None:
    draws = uniform(1, torch.arange(20000), 4)
    top, left, rows, columns = transforms.crop_boxes(draws, 96, 128, (0.3, 0.6)).unbind(1)
    area, ratio = rows * columns / (96 * 128), columns / rows
    assert area.min() > 0.29
    assert area.max() < 0.61
    assert abs(area.mean() - 0.45) < 0.005
    assert abs(ratio.log().mean()) < 0.01  # log-uniform, symmetric around 1
    assert ratio.min() > 0.73
    assert ratio.max() < 1.37
    for start, length, side in ((top, rows, 96), (left, columns, 128)):
        assert start.min() == 0
        assert (start + length).max() == side
        assert abs(((start + 0.5) / (side - length + 1)).mean() - 0.5) < 0.01


def test_crop_boxes_fit_where_the_ratio_does_not() -> None:
    draws = uniform(2, torch.arange(5000), 4)
    for height, width in ((8, 32), (32, 8), (1, 1)):
        boxes = transforms.crop_boxes(draws, height, width, (0.9, 1.0))
        assert (boxes[:, :2] >= 0).all()
        assert (boxes[:, 2:] >= 1).all()
        assert (boxes[:, :2] + boxes[:, 2:] <= torch.tensor([height, width])).all()


@CHANNELS
@pytest.mark.parametrize("kernel", [3, 9])
def test_blur_equals_torchvisions(kernel: int, channels: int) -> None:
    images, sigma = floats(5, channels, 16, 12), torch.tensor([0.1, 0.5, 1.0, 1.7, 2.0])
    got = transforms.blur(images, sigma, kernel)
    for image, s, result in zip(images, sigma.tolist(), got, strict=True):
        want = tv.gaussian_blur(image, [kernel, kernel], [s, s])
        torch.testing.assert_close(result, want, atol=2e-6, rtol=0)


def test_blur_kernel_is_a_tenth_and_odd() -> None:
    assert [transforms.blur_kernel(side) for side in (8, 28, 32, 50, 64, 96, 224)] == [
        3, 3, 3, 5, 7, 9, 23,
    ]  # fmt: skip
    with pytest.raises(ValueError, match="odd"):
        transforms.blur(floats(1), torch.ones(1), 4)


def test_rotations_equal_rot90() -> None:
    images = make_images(3)
    got = transforms.rotations(images)
    for turns in range(4):
        for n in range(3):
            want = torch.rot90(images[n] / 255, turns, (1, 2))
            assert torch.equal(got[3 * turns + n], want)
    with pytest.raises(ValueError, match="square"):
        transforms.rotations(make_images(2, 3, 8, 9))


def fixed(images: Tensor, indices: Tensor, seed: int) -> Tensor:
    """FixedViews with the samples in front: (N, names, C, H, W)."""
    names = ["flip", "blur", "jitter", "gray", "crop"]
    return FixedViews(names)(images, indices, seed).transpose(0, 1)


def simclr(images: Tensor, indices: Tensor, seed: int) -> Tensor:
    """SimCLRViews with the samples in front: (N, 2, C, H, W)."""
    return torch.stack(SimCLRViews()(images, indices, seed).chunk(2), dim=1)


VIEWS = pytest.mark.parametrize(
    "view",
    [
        simclr, fixed, CropFlipViews(), CropFlipViews(None), CropFlipViews(0.5, flip=False),
        StrongViews(), StrongViews(ops=2, cutout=0.0),
    ],
)  # fmt: skip


@VIEWS
@CHANNELS
def test_a_view_belongs_to_seed_and_sample(view, channels: int) -> None:
    images, indices = make_images(40, channels, 32), torch.arange(40) * 7 + 3
    whole = view(images, indices, 5)
    assert whole.dtype == torch.float32
    assert whole.shape[-3:] == images.shape[-3:]
    assert whole.min() >= 0
    assert whole.max() <= 1
    assert whole.isfinite().all()
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0))
    assert torch.equal(view(images[order], indices[order], 5), whole[order])
    for part in (slice(0, 1), slice(3, 20), slice(39, 40)):
        assert torch.equal(view(images[part], indices[part], 5), whole[part])
    assert not torch.equal(view(images, indices, 6), whole)
    assert not torch.equal(view(images, indices + 1, 5), whole)


@VIEWS
@CHANNELS
def test_uint8_and_float_give_the_same_view_and_are_left_alone(view, channels: int) -> None:
    images, indices = make_images(8, channels), torch.arange(8)
    as_float = images.float() / 255
    kept = images.clone(), as_float.clone()
    assert torch.equal(view(images, indices, 0), view(as_float, indices, 0))
    assert torch.equal(images, kept[0])
    assert torch.equal(as_float, kept[1])


def test_simclr_views_are_of_their_image_and_all_differ() -> None:
    images = make_images(1, 3, 32).expand(30, -1, -1, -1)
    first, second = SimCLRViews()(images, torch.arange(30), 0).chunk(2)
    both = torch.cat([first, second]).flatten(1)
    assert (torch.cdist(both, both) + torch.eye(60) > 1e-3).all()
    for n, image in enumerate(plain := floats(5)):
        view = SimCLRViews(1.0, False, 0.0, 0.0)
        want = transforms.resized_crop(image[None], uniform(0, torch.tensor([n]), 4), (1.0, 1.0))
        assert torch.equal(view(plain, torch.arange(5), 0)[n], want[0])


def test_simclr_shares_of_flips_jitter_and_gray() -> None:
    n = 4000
    image = torch.zeros(1, 3, 4, 4)
    image[:, 0, :, 2:], image[:, 1] = 0.8, 0.4
    images, indices = image.expand(n, -1, -1, -1), torch.arange(n)
    flipped = CropFlipViews(None)(images, indices, 0)[:, 0, 0, 0] > 0.5
    assert abs(flipped.float().mean() - 0.5) < 0.03
    got = SimCLRViews(1.0, jitter=0.3, gray=0.25)(images, indices, 0)
    gray = (got.amax(1) - got.amin(1)).amax((1, 2)) < 1e-6
    assert abs(gray.float().mean() - 0.25) < 0.02
    jittered = (got[~gray].amax((2, 3))[:, 0] - 0.8).abs() > 1e-5
    assert abs(jittered.float().mean() - 0.8) < 0.03


def test_no_color_jitter_on_one_channel() -> None:
    images, draws = floats(5, 1), uniform(3, torch.arange(5), 5)
    got = color.jitter(images, draws, 0.4)
    draws[:, 2:4] = 0.77
    assert torch.equal(got, color.jitter(images, draws, 0.4))


def test_fixed_views_do_not_depend_on_the_other_names() -> None:
    images, indices = make_images(6), torch.arange(6)
    names = ["crop", "gray", "jitter", "blur", "flip"]
    together = FixedViews(names)(images, indices, 1)
    assert together.shape == (5, 6, 3, 16, 16)
    for name, view in zip(names, together, strict=True):
        assert torch.equal(FixedViews([name])(images, indices, 1)[0], view)
        assert not torch.equal(view, images / 255)
    assert torch.equal(together[4], images.flip(3) / 255)


@pytest.mark.parametrize(
    "build",
    [
        lambda: FixedViews(["tilt"]), lambda: FixedViews([]), lambda: CropFlipViews(1.5),
        lambda: SimCLRViews(crop_scale=0.0), lambda: SimCLRViews(gray=-0.1),
        lambda: SimCLRViews(jitter=2.0), lambda: StrongViews(ops=-1),
        lambda: StrongViews(cutout=2.0), lambda: StrongViews(fill=[0.1, 1.2, 0.3]),
    ],
)  # fmt: skip
def test_wrong_arguments_are_refused_at_once(build) -> None:
    with pytest.raises(ValueError, match="must be"):
        build()
