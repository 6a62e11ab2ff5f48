"""
Layers of two networks, in one pass
===================================

Centred kernel alignment (CKA) tells how alike two layers make the same stimuli. With all layers
of two networks and many images, their activations do not fit into memory; minibatch CKA needs
one batch at a time, and its result does not depend on the size of the batches.

The images are real handwritten digits, which come with scikit-learn; two networks, one of them
twice as deep, learn to read them in some seconds. Nothing is downloaded. It takes about half a
minute, and writes into a folder ``tutorial_05``.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import pytorch_feature_analysis as pfa

folder = Path("tutorial_05")
folder.mkdir(exist_ok=True)

# %%
# 1. A shallow network and a deep one
# -----------------------------------
#
# Three of four digits are for learning, the others for the comparison.

digits = load_digits()
pixels = torch.as_tensor(digits.images / 16, dtype=torch.float32)[:, None]
answers = torch.as_tensor(digits.target)
is_lesson = torch.arange(len(pixels)) % 4 > 0


def make_network(n_convolutions, seed):
    torch.manual_seed(seed)
    layers = [nn.Conv2d(1, 24, 3, padding=1), nn.ReLU()]
    for _ in range(n_convolutions - 1):
        layers += [nn.Conv2d(24, 24, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(24 * 64, 10))


networks = {"shallow": make_network(4, seed=0), "deep": make_network(8, seed=1)}
for name, network in networks.items():
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    lessons = DataLoader(
        TensorDataset(pixels[is_lesson], answers[is_lesson]), batch_size=32, shuffle=True
    )
    for _ in range(6):
        for inputs, targets in lessons:
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(inputs), targets).backward()
            optimizer.step()
    network.eval()
    with torch.no_grad():
        right = (network(pixels[~is_lesson]).argmax(dim=1) == answers[~is_lesson]).float().mean()
    print(f"the {name} network reads {right:.0%} of new digits")

# %%
# 2. All layers of both, at once
# ------------------------------
#
# ``get_minibatch_cka`` takes any loader. Layers stand in the order in which they are asked for,
# and what comes out is a row of a stack like any other, whose entries are (model, layer).

loader = DataLoader(TensorDataset(pixels[~is_lesson], answers[~is_lesson]), batch_size=64)
layers = {
    "shallow": [*(f"relu{i}" for i in range(1, 5)), "fc1"],
    "deep": [*(f"relu{i}" for i in range(1, 9)), "fc1"],
}
cka_df = pfa.get_minibatch_cka(networks, loader, layers, progress=False)
print(cka_df["dissim_metric"].item(), "of", len(cka_df["entry_keys"].item()), "layers")

# %%
# The matrix holds 1 - CKA, as all matrices of stacks hold dissimilarities; ``to_similarity`` gives
# CKA. ``plot_heatmap`` draws all of it, or what is chosen by the labels of the entries: the layers
# of one network, or those of one against those of the other.

similar = pfa.to_similarity(cka_df)
figure, axes = plt.subplots(
    1, 3, figsize=(11.5, 4.4), layout="constrained", gridspec_kw={"width_ratios": [5, 9, 10.2]}
)
shallow, deep = {"model": "shallow"}, {"model": "deep"}
for ax, rows, columns, title in (
    (axes[0], shallow, shallow, "shallow"),
    (axes[1], deep, deep, "deep"),
    (axes[2], shallow, deep, "one against the other"),
):
    pfa.plot_heatmap(
        similar,
        rows,
        columns,
        half=rows is columns,
        limits=(0, 1),
        bar=ax is axes[2],
        bar_label="CKA",
        fig_title=title,
        ax=ax,
    )
    ax.set(xlabel=f"layers of {columns['model']}", ylabel=f"layers of {rows['model']}")
figure.savefig(folder / "layers_of_two_networks.png", dpi=150)
plt.close(figure)

# %%
# And all of them on one map: a path from the first layer to the last for each network.

keys = cka_df["entry_keys"].item()
tones = {"shallow": "#0072b2", "deep": "#d55e00"}
pfa.rdm_mds(
    cka_df,
    cond_colors={key: tones[key[0]] for key in keys},
    cond_labels={key: key[1] for key in keys},
    label_opts={"fontsize": 8},
    line_trajectories=[
        ([key for key in keys if key[0] == name], {"color": tones[name], "label": name})
        for name in networks
    ],
    fig_size=4.5,
    plot_style=None,
    show=False,
    save_opts=folder / "map_of_layers.png",
)

# %%
# Neighbouring layers are alike, the more so in the deep network, half of whose layers hardly
# change what the layers before have made. Between the networks, the first layers are alike, and
# then each goes its own way.
#
# 3. Any size of batches
# ----------------------
#
# Pooled over batches, the unbiased estimates give about the same at any size, and exactly that of
# all images in one. Means of CKA over small batches do not: the biased estimate is too high where
# there are more units than images, the more so the smaller the batches.

images = pixels[~is_lesson]
sizes = [8, 16, 32, 64, 128, len(images)]
a, b = (
    torch.as_tensor(pfa.capture(networks[name], images, ["relu4"])["relu4"]).flatten(1).numpy()
    for name in networks
)
pooled, means = [], []
for size in sizes:
    starts = range(0, len(images) - size + 1, size)
    batches = [(a[start : start + size], b[start : start + size]) for start in starts]
    pooled.append(pfa.minibatch_cka(batches))
    means.append(np.mean([pfa.linear_cka(x, y) for x, y in batches]))
whole = pfa.linear_cka(a, b, debiased=True)
print("pooled:", np.round(pooled, 3), " mean of biased:", np.round(means, 3))

figure, ax = plt.subplots(figsize=(5.4, 3.3), layout="constrained")
ax.axhline(whole, color="0.7", linewidth=1)
ax.plot(sizes, pooled, "o-", color="#0072b2", label="unbiased, pooled over batches")
ax.plot(sizes, means, "s-", color="#d55e00", label="mean of biased CKA")
ax.set_xscale("log", base=2)
ax.set_xticks(sizes, map(str, sizes))
ax.minorticks_off()
ax.set(xlabel="images a batch", ylabel="CKA of relu4", ylim=(0.6, 1))
ax.spines[["top", "right"]].set_visible(False)
ax.legend(frameon=False)
figure.savefig(folder / "batch_sizes.png", dpi=150)
plt.close(figure)
