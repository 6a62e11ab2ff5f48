"""
Choosing stimuli
================

Before an experiment there are more images than trials. Which of them tell most? With RDMs at
hand this is a search: the images that a network sees as most different, that are different for
all of its layers, that spread evenly over the whole range of dissimilarity, or on which two
networks disagree most, so that a measurement will tell which of the two is right.

The images are real handwritten digits, which come with scikit-learn; the network learns to read
them in a few seconds. Nothing is downloaded. It takes about half a minute, and writes into a
folder ``tutorial_07``.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from PIL import Image, ImageOps
from sklearn.datasets import load_digits
from torch import nn
from torchvision import transforms

import pytorch_feature_analysis as pfa

folder = Path("tutorial_07")
(folder / "stimuli").mkdir(parents=True, exist_ok=True)

# %%
# 1. Three hundred digits, and two networks
# -----------------------------------------
#
# Thirty of each digit are the candidates. The other 1,497 are what one of the two networks learns
# from; its twin stays as it was born.

digits = load_digits()
is_candidate = np.zeros(len(digits.target), dtype=bool)
for digit in range(10):
    is_candidate[np.flatnonzero(digits.target == digit)[:30]] = True


def as_picture(pixels):
    """Dark ink on white paper, with a margin."""
    grey = Image.fromarray(np.uint8(255 - pixels * (255 / 16)))
    return ImageOps.expand(grey.resize((64, 64), Image.Resampling.BICUBIC), 8, fill=255)


counts = dict.fromkeys(range(10), 0)
for pixels, digit in zip(
    digits.images[is_candidate], digits.target[is_candidate].tolist(), strict=True
):
    as_picture(pixels).save(folder / "stimuli" / f"{digit}_{counts[digit]:02d}.png")
    counts[digit] += 1

transform = transforms.Compose(
    [
        transforms.Grayscale(),
        ImageOps.invert,
        transforms.Resize(16, antialias=True),
        transforms.ToTensor(),
    ]
)


def make_network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(512, 64),
        nn.ReLU(),
        nn.Linear(64, 10),
    )


trained = make_network()
lessons = torch.stack([transform(as_picture(pixels)) for pixels in digits.images[~is_candidate]])
answers = torch.as_tensor(digits.target[~is_candidate])
optimizer = torch.optim.Adam(trained.parameters(), lr=2e-3)
for _ in range(8):
    for batch in torch.randperm(len(lessons)).split(64):
        optimizer.zero_grad()
        nn.functional.cross_entropy(trained(lessons[batch]), answers[batch]).backward()
        optimizer.step()

models = pfa.prepare_models(
    {"trained": (trained.eval(), transform), "untrained": (make_network(), transform)}
)
images = pfa.read_image_folder(folder / "stimuli", "{digit}_{sample}.png")
image_sets = pfa.package_image_sets(images, ["digit", "sample"], [])
rdm_df = pfa.get_rdms(
    image_sets,
    models,
    out_fname=None,
    which_layers=["conv1", "conv2", "fc1", "fc2"],
    activation_types=["unit_level"],
    progress=False,
)
print(len(rdm_df), "RDMs of", len(rdm_df["entry_keys"][0]), "digits")

# %%
# 2. The twenty that differ most
# ------------------------------
#
# ``select_stimuli`` takes a row of the stack and gives a frame with the chosen entries, their
# labels and how different each is from the others. ``selection_report`` sets the choice beside the
# greedy one, and beside a random one.

of_trained = pfa.df_filter(rdm_df, [("model", "trained")])
conv2 = pfa.df_filter(of_trained, [("layer", "conv2")])
chosen = pfa.select_stimuli(conv2, 20)
print(chosen.head())

report = pfa.selection_report(conv2["matrix"].item(), chosen["index"].tolist())
print(
    f"mean dissimilarity: chosen {report.mean:.4f}, greedy {report.greedy_mean:.4f},"
    f" random {report.random_mean:.4f}"
)

# %%
# A picture tells more. On one sheet: the chosen ones, and as many at random. Some of the chosen
# look alike: a sum is largest with several items from each far corner. Where that is not wanted,
# take a number from each category (below), or an even spread.

paths = dict(zip(zip(images["digit"], images["sample"], strict=True), images["path"], strict=True))
keys = conv2["entry_keys"].item()
random_keys = [keys[i] for i in np.random.default_rng(0).permutation(300)[:20]]

figure, axes = plt.subplots(1, 2, figsize=(8, 3.6), layout="constrained")
figure.get_layout_engine().set(wspace=0.1)
for ax, title, shown in (
    (axes[0], "the 20 that conv2 sees as most different", chosen["entry_key"].tolist()),
    (axes[1], "20 at random", random_keys),
):
    pfa.plot_montage([paths[key] for key in shown], columns=5, fig_title=title, ax=ax)
figure.savefig(folder / "chosen_and_random.png", dpi=150)
plt.close(figure)

# %%
# 3. Two of each digit, different for every layer
# -----------------------------------------------
#
# With several rows, the mean over them is made large, or, with ``combine='min'``, the mean
# dissimilarity of the worst one. ``groups`` says how many from each category.

means = {}
for combine in ("mean", "min"):
    for_all = pfa.select_stimuli(of_trained, 20, combine=combine, groups=("digit", 2))
    places = for_all["index"].tolist()
    upper = np.triu_indices(20, k=1)
    means[combine] = [
        matrix[np.ix_(places, places)][upper].mean() / matrix[np.triu_indices(300, k=1)].mean()
        for matrix in of_trained["matrix"]
    ]
print(for_all["digit"].value_counts().sort_index().to_dict())
print(pd.DataFrame(means, index=of_trained["layer"]).round(3))

# %%
# 4. A given mean, and an even spread
# -----------------------------------
#
# The set whose mean dissimilarity is 0.35, to many decimal places; and one whose dissimilarities
# are spread over the whole range as evenly as can be, for scaling experiments.

rdm = conv2["matrix"].item()
_, matching, mean = pfa.get_dissims_that_match(rdm, 0.35, 20)
_, even, p_value = pfa.get_most_uniform_dissims(rdm, 20)
print(f"mean {mean:.9f}; evenness p = {p_value:.3g}")

figure, ax = plt.subplots(figsize=(6, 3.4), layout="constrained")
bins = np.linspace(0, rdm.max(), 25)
for name, places, color, line in (
    ("most different", chosen["index"], "#d55e00", "-"),
    ("evenly spread", even, "#0072b2", "--"),
    ("random", [keys.index(key) for key in random_keys], "#7f7f7f", "-"),
):
    values = pfa.get_upper_triang(rdm[np.ix_(places, places)])
    ax.hist(values, bins, histtype="step", linewidth=1.8, color=color, ls=line, label=name)
ax.set(xlabel="dissimilarity (1 - r) at conv2", ylabel="pairs of 20 digits")
ax.legend(frameon=False, loc="upper left")
ax.spines[["top", "right"]].set_visible(False)
figure.savefig(folder / "spread.png", dpi=150)
plt.close(figure)

# %%
# 5. Where two networks disagree
# ------------------------------
#
# Training changes which digits are alike. ``max_disagreement`` finds the digits whose RDMs
# correlate least: those on which a behavioural measurement tells the two networks apart best.

fc1 = [pfa.df_filter(rdm_df, [("model", name), ("layer", "fc1")]) for name in models]
telling = pfa.max_disagreement(*fc1, 12)
correlations = {}
for name, places in (("all 300", range(300)), ("the 12", telling["index"])):
    correlations[name] = pfa.correlate_upper_triang(
        *(row["matrix"].item()[np.ix_(places, places)] for row in fc1)
    )
print({name: round(r, 3) for name, r in correlations.items()})
twelve = telling["entry_key"].tolist()
pfa.plot_rdm(
    pd.concat([pfa.subset_rdm_df(row, twelve) for row in fc1]),
    order=pfa.linkage_order(pfa.subset_rdm_df(fc1[0], twelve)),
    pictures=paths,
    scale="rank",
    titles="model",
    show=False,
    save_opts=folder / "disagreement.png",
)

# %%
# In the order that suits the trained network, alike digits (dark cells) stand together. For the
# untrained one, other pairs are alike.
#
# The same on the command line, for a stack in a file:
#
# .. code-block:: console
#
#    $ pfa pick stack.parquet -n 20 --where layer=conv2 --out chosen.csv \
#          --pictures stimuli --pattern '{digit}_{sample}.png' --montage chosen.png
