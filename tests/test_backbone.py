"""The convolution that leaves out taps which meet only padding, against PyTorch's own."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from pretext.backbone import Convolution, ResNet18

SIZES = [(1, 1), (1, 2), (2, 1), (2, 2), (1, 3), (3, 2), (3, 3), (4, 4)]


def plain(convolution: Convolution) -> nn.Conv2d:
    """PyTorch's, with the same weights."""
    channels = convolution.in_channels, convolution.out_channels
    other = nn.Conv2d(*channels, 3, convolution.stride, 1, bias=False).to(convolution.weight)
    other.load_state_dict(convolution.state_dict())
    return other


def with_gradients(convolution: nn.Module, images: Tensor) -> list[Tensor]:
    x = images.clone().requires_grad_()
    y = convolution(x)
    generator = torch.Generator().manual_seed(1)
    (y * torch.randn(y.shape, dtype=y.dtype, generator=generator)).sum().backward()
    weight = next(convolution.parameters())
    assert x.grad is not None
    assert weight.grad is not None
    return [y.detach(), x.grad, weight.grad]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", SIZES)
def test_outputs_and_gradients_are_those_of_the_whole_kernel(
    size: tuple[int, int], stride: int, layout: torch.memory_format
) -> None:
    torch.manual_seed(0)
    convolution = Convolution(5, 7, stride).double().to(memory_format=layout)
    images = torch.randn(4, 5, *size, dtype=torch.float64).contiguous(memory_format=layout)
    expected = with_gradients(plain(convolution), images)
    for mine, theirs in zip(with_gradients(convolution, images), expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("stem", "size", "max_pool"), [(7, 28, True), (3, 8, False)])
def test_last_stages_of_mnist_and_digits_are_linear(
    stem: int, size: int, max_pool: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 16 convolutions of 3x3, the four of the last stage; the sum is the same."""
    network = ResNet18(1, 8, stem, max_pool).double().eval()
    images = torch.randn(3, 1, size, size, dtype=torch.float64)
    with torch.no_grad():
        mine = network(images)
        linear: list[bool] = []

        def forward(convolution: Convolution, x: Tensor) -> Tensor:
            y = plain(convolution)(x)
            linear.append(y.shape[-2:] == (1, 1))
            return y

        monkeypatch.setattr(Convolution, "forward", forward)
        theirs = network(images)
    assert (sum(linear), len(linear)) == (4, 16)
    torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)
