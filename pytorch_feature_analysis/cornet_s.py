"""CORnet-S, a recurrent network of the ventral stream with four areas: V1, V2, V4 and IT.

References
----------
Kubilius, J. et al. (2018). CORnet: Modeling the neural mechanisms of core object recognition.
    bioRxiv. https://doi.org/10.1101/408385
Kubilius, J. et al. (2019). Brain-like object recognition with high-performing shallow recurrent
    ANNs. Advances in Neural Information Processing Systems 32. https://arxiv.org/abs/1909.06161
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - torch's own abbreviation

_BOTTLENECK = 4  # the middle of an area is this many times as wide as its output
_CHANNELS = (64, 128, 256, 512)
_TIMES = (2, 4, 2)


class CORnetS(nn.Module):
    """CORnet-S; its modules are named as in the published checkpoints.

    Parameters
    ----------
    num_classes : int
        Number of categories that the decoder tells apart.
    """

    def __init__(self, num_classes: int = 1000) -> None:
        super().__init__()
        v1, v2, v4, it = _CHANNELS
        self.V1 = _V1(v1)
        self.V2 = _Area(v1, v2, _TIMES[0])
        self.V4 = _Area(v2, v4, _TIMES[1])
        self.IT = _Area(v4, it, _TIMES[2])
        self.decoder = _Decoder(it, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the logits (batch, num_classes) of images (batch, 3, height, width)."""
        return self.decoder(self.IT(self.V4(self.V2(self.V1(images)))))


class _V1(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, channels, kernel_size=7, stride=2, padding=3, bias=False)
        self.norm1 = nn.BatchNorm2d(channels)
        self.nonlin1 = nn.ReLU(inplace=True)
        self.pool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, kernel_size=3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)
        self.nonlin2 = nn.ReLU(inplace=True)
        self.output = nn.Identity()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = self.pool(self.nonlin1(self.norm1(self.conv1(images))))
        return self.output(self.nonlin2(self.norm2(self.conv2(x))))


class _Area(nn.Module):
    """A bottleneck that runs `times` times on its own output, with weights shared over time.

    Normalisation is not shared: every time step has its own. The first step halves the
    resolution, so only there the shortcut is a convolution.
    """

    def __init__(self, in_channels: int, channels: int, times: int) -> None:
        super().__init__()
        wide = channels * _BOTTLENECK
        self.times = times
        self.conv_input = nn.Conv2d(in_channels, channels, kernel_size=1, bias=False)
        self.skip = nn.Conv2d(channels, channels, kernel_size=1, stride=2, bias=False)
        self.norm_skip = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, wide, kernel_size=1, bias=False)
        self.nonlin1 = nn.ReLU(inplace=True)
        self.conv2 = _ConvOfGivenStride(wide, wide, kernel_size=3, padding=1, bias=False)
        self.nonlin2 = nn.ReLU(inplace=True)
        self.conv3 = nn.Conv2d(wide, channels, kernel_size=1, bias=False)
        self.nonlin3 = nn.ReLU(inplace=True)
        self.output = nn.Identity()
        for step in range(times):
            self.add_module(f"norm1_{step}", nn.BatchNorm2d(wide))
            self.add_module(f"norm2_{step}", nn.BatchNorm2d(wide))
            self.add_module(f"norm3_{step}", nn.BatchNorm2d(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        state = self.conv_input(x)
        for step in range(self.times):
            norm1, norm2, norm3 = (self.get_submodule(f"norm{k}_{step}") for k in (1, 2, 3))
            shortcut = self.norm_skip(self.skip(state)) if step == 0 else state
            state = self.nonlin1(norm1(self.conv1(state)))
            state = self.nonlin2(norm2(self.conv2(state, stride=2 if step == 0 else 1)))
            state = self.output(self.nonlin3(norm3(self.conv3(state)) + shortcut))
        return state


class _ConvOfGivenStride(nn.Conv2d):
    """A convolution whose stride belongs to the call, so that running it changes no setting."""

    def forward(self, x: torch.Tensor, stride: int = 1) -> torch.Tensor:
        return F.conv2d(x, self.weight, self.bias, stride, self.padding)


class _Decoder(nn.Module):
    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.linear = nn.Linear(channels, num_classes)
        self.output = nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.output(self.linear(self.flatten(self.avgpool(x))))
