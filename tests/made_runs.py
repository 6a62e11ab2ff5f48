"""Small networks, pictures and image sets for tests of runs: what passes, in how many goes."""

from contextlib import contextmanager

import numpy as np
import torch
from PIL import Image
from torch import nn
from torchvision import transforms

import pytorch_feature_analysis as pfa
from pytorch_feature_analysis import rdm_jobs, rdm_units
from pytorch_feature_analysis.planning import Disk

TRANSFORM = transforms.ToTensor()
# Disks to choose by: on the first, files cost nothing; on the second, hours; the third is full.
FAST, SLOW, FULL = Disk("/tmp", 10**12, 1e15), Disk("/tmp", 10**12, 1.0), Disk("/tmp", 0, 1.0)


class Maps(nn.Module):
    """Maps, an in-place operation, a layer that hands its input on, and a vector.

    Units: input 192, conv1 180, relu1 180, dropout1 180, fc1 4.
    """

    def __init__(self, seed=0):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.conv = nn.Conv2d(3, 5, 3)
            self.relu = nn.ReLU(inplace=True)
            self.dropout = nn.Dropout()
            self.fc = nn.Linear(180, 4)

    def forward(self, x):
        return self.fc(self.dropout(self.relu(self.conv(x))).flatten(1))


class Tokens(nn.Module):
    """Class token and 16 patches, as in a vision transformer."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.patches = nn.Conv2d(3, 6, 2, 2)
            self.class_token = nn.Parameter(torch.randn(1, 1, 6))
            self.norm = nn.LayerNorm(6)
            self.head = nn.Linear(6, 5)

    def forward(self, x):
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.class_token.expand(len(x), -1, -1), tokens], dim=1)
        return self.head(self.norm(tokens * tokens.mean(dim=1, keepdim=True))[:, 0])


def prepared(network=None, name="net", transform=TRANSFORM):
    return pfa.prepare_models({name: (network or Maps(), transform)})


def pictures(n, size=(8, 8), seed=0, prefix="p"):
    """Noise; a dict from entry key to picture."""
    rng = np.random.default_rng(seed)
    return {
        (f"{prefix}{i}",): Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8))
        for i in range(n)
    }


def image_set(images, combinations=(), **labels):
    return (labels or {"set": "a"}, dict(images), ("image",), list(combinations))


def matrices(rdm_df):
    """Matrices of a stack by what their rows are."""
    names = ["model", "layer", "dissim_metric", "activation_type", "kernel_set_name", "perm"]
    names += [name for name in ("set",) if name in rdm_df]
    rows = rdm_df[names].itertuples(index=False, name=None)
    return dict(zip(rows, rdm_df["matrix"], strict=True))


def assert_same_bits(found, expected):
    found, expected = matrices(found), matrices(expected)
    assert list(found) == list(expected)
    for row, matrix in expected.items():
        np.testing.assert_array_equal(found[row], matrix, err_msg=str(row))


def budget(image_sets, models, share, **options):
    """A budget that leaves a share of what one pass would keep for patterns."""
    plan = pfa.plan_rdms(image_sets, models, **options)
    stack, room = plan["stack_bytes"].sum(), share * plan["memory_bytes"].max()
    # The stack comes off the budget, but leaves a quarter of it.
    return int(min(stack + room, 4 * room))


def use_disk(monkeypatch, disk):
    monkeypatch.setattr(rdm_units, "probe_disk", lambda: disk)


@contextmanager
def watched_passes(monkeypatch):
    """List of the passes that compute RDMs: the layers that each is for, and its batches."""
    passes = []
    real = rdm_jobs.stream_outputs

    def watched(model, batches, targets, consume, **options):
        seen = []
        passes.append(([target.label[0] for target in targets], seen))

        def counted():
            for batch in batches:
                seen.append(len(batch.positions))
                yield batch

        real(model, counted(), targets, consume, **options)

    with monkeypatch.context() as patch:
        patch.setattr(rdm_jobs, "stream_outputs", watched)
        yield passes
