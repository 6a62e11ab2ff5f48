"""
What do the units carry?
========================

An RDM says which images a layer holds apart, but not what for. This tutorial asks the units
themselves: how much of their variance is due to which digit they see, and how much to where it
is (analysis of variance); what a linear read-out can tell from a whole layer, and whether it
still can when the digit appears at a place where it was never learnt (decoding and
cross-decoding); and how the same question looks in the RDM (tolerance).

The images are real handwritten digits, which come with scikit-learn; the network learns to read
them in some seconds. Nothing is downloaded. It takes about half a minute, and writes into a
folder ``tutorial_08``.
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

folder = Path("tutorial_08")
# sphinx_gallery_thumbnail_number = 3
(folder / "stimuli").mkdir(parents=True, exist_ok=True)

# %%
# 1. Digits by places
# -------------------
#
# Six handwritten samples of each digit, each at four places of a larger sheet: 10 x 4 cells with
# six pictures each. The design is crossed, every digit at every place, so that nothing about the
# one follows from the other.

digits = load_digits()
SIDE = 24
places = {
    "upper left": (2, 2),
    "upper right": (14, 2),
    "lower left": (2, 14),
    "lower right": (14, 14),
}


def on_a_sheet(pixels, corner):
    """Dark ink on white paper, a ninth of the sheet."""
    sheet = Image.new("L", (SIDE, SIDE), 255)
    sheet.paste(Image.fromarray(np.uint8(255 - pixels * (255 / 16))), corner)
    return sheet


shown = {digit: np.flatnonzero(digits.target == digit)[:6] for digit in range(10)}
for digit, chosen in shown.items():
    for sample, index in enumerate(chosen):
        for place, corner in places.items():
            sheet = on_a_sheet(digits.images[index], corner)
            sheet.save(folder / "stimuli" / f"{digit}_{place}_{sample}.png")

images = pfa.read_image_folder(folder / "stimuli", "{digit}_{place}_{sample}.png")
print(pd.crosstab(images["place"], images["digit"]))

firsts = images[images["sample"] == "0"].set_index(["place", "digit"])["path"]
framed = [
    ImageOps.expand(Image.open(firsts[place, str(digit)]), 1, fill=190)
    for place in places
    for digit in range(10)
]
figure, ax = plt.subplots(figsize=(6, 2.6), layout="constrained")
pfa.plot_montage(framed, columns=10, ax=ax, fig_title="one sample of each digit, at each place")
figure.savefig(folder / "digits_by_places.png", dpi=150)
plt.close(figure)

# %%
# 2. A network that reads, and its twin that never learnt
# -------------------------------------------------------
#
# The other digits are what one network learns from, each time at another place. Its twin stays as
# it was born: what the twin shows is due to the wiring alone.

transform = transforms.Compose([transforms.Grayscale(), ImageOps.invert, transforms.ToTensor()])


def make_network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(576, 64),
        nn.ReLU(),
        nn.Linear(64, 10),
    )


is_lesson = np.ones(len(digits.target), dtype=bool)
is_lesson[np.concatenate(list(shown.values()))] = False
lessons = torch.as_tensor(digits.images[is_lesson] / 16, dtype=torch.float32)
answers = torch.as_tensor(digits.target[is_lesson])
trained = make_network()
optimizer = torch.optim.Adam(trained.parameters(), lr=3e-3)
rng = np.random.default_rng(0)
for _ in range(12):
    sheets = torch.zeros(len(lessons), 1, SIDE, SIDE)
    for sheet, digit, (x, y) in zip(
        sheets, lessons, rng.integers(0, SIDE - 8, (len(lessons), 2)), strict=True
    ):
        sheet[0, y : y + 8, x : x + 8] = digit
    for batch in torch.randperm(len(lessons)).split(32):
        optimizer.zero_grad()
        nn.functional.cross_entropy(trained(sheets[batch]), answers[batch]).backward()
        optimizer.step()

models = pfa.prepare_models(
    {"trained": (trained.eval(), transform), "untrained": (make_network(), transform)}
)
layers = ["original_rgb", "conv1", "conv2", "conv3", "fc1", "fc2"]
read = pfa.capture(models["trained"], images["path"].tolist(), ["fc2"])["fc2"].argmax(axis=1)
right = (read == images["digit"].astype(int).to_numpy()).mean()
print(f"the trained network reads {right:.0%} of the 240 pictures")

# %%
# 3. Digit or place: the variance of each unit
# --------------------------------------------
#
# ``compute_etas`` passes the images once, and splits the variance of every unit's responses into
# what the digit explains, what the place explains, what only both together do (the interaction),
# and what remains between samples of one digit at one place (the error). Eta squared is the share
# of each; here is its mean over the units of each layer.

(image_set,) = pfa.package_image_sets(images, ["digit", "place", "sample"], [])
tables, sums = [], {}
for name, model in models.items():
    df, sums[name] = pfa.compute_etas(image_set, (name, model), layers, maps=True, progress=False)
    tables.append(df)
etas = pd.concat(tables, ignore_index=True)
effects = ["digit", "place", "interaction"]
columns = [f"{effect}_eta2_mean" for effect in effects]
print(etas.set_index(["model", "layer"])[columns].round(3).to_string())

# %%
long = etas.rename(columns=dict(zip(columns, effects, strict=True))).melt(
    ["model", "layer"], effects, "effect", "eta squared, mean of units"
)
figure, axes = plt.subplots(1, 2, figsize=(7, 3.1), sharey=True, layout="constrained")
for ax, name in zip(axes, models, strict=True):
    pfa.plot_layers(
        pfa.df_filter(long, ("model", name)),
        "eta squared, mean of units",
        lines="effect",
        names={"original_rgb": "input"},
        fig_title=name,
        ax=ax,
    )
figure.savefig(folder / "etas.png", dpi=150)
plt.close(figure)

# %%
# 4. Each unit where it stands
# ----------------------------
#
# The second thing that ``compute_etas`` returns are arrays in the shape of each layer's output:
# the sums of squares, and with ``maps=True`` the effect sizes, F and p of every unit. A unit of a
# convolution has a place on the sheet. Where it looks at one of the four places, the place decides
# whether it sees ink at all; units that never change are NaN, and drawn white.

convolutions = [label for label in sums["trained"] if label[0].startswith("conv")]
figure, axes = plt.subplots(2, 3, figsize=(7.2, 4.6), layout="constrained")
for row, effect in zip(axes, ("digit", "place"), strict=True):
    for ax, label in zip(row, convolutions, strict=True):
        of_units = sums["trained"][label][f"eta2_{effect}"]
        sees = ~np.isnan(of_units)
        mean = np.where(sees, of_units, 0).sum(axis=0) / np.maximum(sees.sum(axis=0), 1)
        mean[~sees.any(axis=0)] = np.nan
        image = ax.imshow(mean, vmin=0, vmax=1, cmap="viridis")
        ax.set(xticks=[], yticks=[])
        if effect == "digit":
            ax.set_title(label[0])
    row[0].set_ylabel(effect)
bar = figure.colorbar(image, ax=axes, shrink=0.7)
bar.set_label("eta squared, mean of channels")
figure.savefig(folder / "maps.png", dpi=150)
plt.close(figure)

# %%
# 5. What can be read out
# -----------------------
#
# A single unit may tell little, and many together a lot. ``run_2way_svm_analysis`` trains a linear
# support vector machine for each pair of values of two variables, at each layer. Folds are matched
# by the other variable. Here they leave out one sample of both digits at a time, at each place on
# its own, since the place is a grouping variable: can a digit be read where it was learnt?

at_one_place = pfa.run_2way_svm_analysis(
    images, "digit", "sample", ["place"], models, layers, progress=False
)
columns = ["layer", "decoded_variable", "other_variable", "place", "bin1", "bin2", "acc"]
print(at_one_place[columns].head(4).to_string())

# %%
# And elsewhere? In cross-decoding the machine learns at some values of the other variable, and is
# tested at another: ``cross_by='leave_one_out'`` learns the digits at three places, and tests
# them at the fourth. In the same call the places are told apart, learnt with nine digits and
# tested with the tenth.

elsewhere = pfa.run_2way_svm_analysis(
    images,
    "digit",
    "place",
    [],
    models,
    layers,
    decoding_type="cross",
    cross_by="leave_one_out",
    progress=False,
)
columns = ["layer", "bin1", "bin2", "train_values", "test_values", "acc"]
print(elsewhere[columns].head(4).to_string())

# %%
curves = {
    "digit, at its place": at_one_place[at_one_place["decoded_variable"] == "digit"],
    "digit, at a new place": elsewhere[elsewhere["decoded_variable"] == "digit"],
    "place, with a new digit": elsewhere[elsewhere["decoded_variable"] == "place"],
}
accuracies = {
    curve: rows.pivot_table("acc", "model", "layer")[layers] for curve, rows in curves.items()
}
print(pd.concat(accuracies).round(3).to_string())
long = pd.concat([rows.assign(curve=curve) for curve, rows in curves.items()])
long = long.groupby(["model", "curve", "layer"], sort=False, as_index=False)["acc"].mean()
figure, axes = plt.subplots(1, 2, figsize=(7, 3.1), sharey=True, layout="constrained")
for ax, name in zip(axes, models, strict=True):
    pfa.plot_layers(
        pfa.df_filter(long, ("model", name)),
        "acc",
        lines="curve",
        names={"original_rgb": "input"},
        value_label="accuracy, mean of pairs",
        fig_title=name,
        ax=ax,
    )
    ax.axhline(0.5, color="0.6", linewidth=1, zorder=0)
axes[0].text(5, 0.505, "chance", color="0.4", ha="right", va="bottom", fontsize=7)
figure.savefig(folder / "decoding.png", dpi=150)
plt.close(figure)

# %%
# Where they were learnt, digits can be read from every layer of both networks, even from the
# input: a linear read-out finds what is there, and not what a layer has made of it. At a new place
# it is at chance, but in the last layers of the network that has learnt to read.
#
# 6. Accuracies as dissimilarities
# --------------------------------
#
# How well two digits are told apart is a dissimilarity: ``get_decoding_rdms`` puts it into a stack
# like any other, one RDM a row, for all that follows. Which digits does the untrained network
# mix up?

svm_df = pfa.get_decoding_rdms(
    images, "digit", ["place"], models, ["fc2"], matched_by="sample", progress=False
)
of_untrained = pfa.df_filter(svm_df, [("model", "untrained")])
upper = np.triu_indices(10, k=1)
means = np.mean(of_untrained["matrix"].tolist(), axis=0)[upper]
pairs = pd.Series(means, index=pd.MultiIndex.from_arrays(upper)).nsmallest(5)
print("the pairs that fc2 of the untrained network tells apart worst:")
print(pairs.round(3).to_string())


def enlarged(pixels):
    """Dark ink on white paper, eight times as large."""
    small = Image.fromarray(np.uint8(255 - pixels * (255 / 16)))
    return small.resize((64, 64), Image.Resampling.BICUBIC)


pfa.plot_mds_panels(
    of_untrained,
    "place",
    cond_pics={(str(digit),): enlarged(digits.images[index[0]]) for digit, index in shown.items()},
    pic_points=14,
    show=False,
    save_opts=folder / "digits_by_accuracy.png",
)

# %%
# Each map is turned to the one before, so that digits keep their places as far as the accuracies
# let them. Stress-1 is high: most pairs are told apart nearly always, and no plane has room for
# ten digits that are all equally far from each other. ``plot_shepard`` shows what a map makes of
# the dissimilarities: on the line it would be exact.

pfa.plot_shepard(
    pfa.df_filter(of_untrained, ("place", "upper left")),
    show=False,
    save_opts=folder / "digits_by_accuracy_shepard.png",
)

# %%
# 7. The same question of an RDM
# ------------------------------
#
# Where all that is at hand are RDMs, ``compute_tolerances`` compares the distances of pictures
# that differ in the digit alone with those that differ in the place alone: a tolerance to place of
# 1 would mean that the place makes no difference, of -1 that only the place does.
# ``category_index`` tests, by relabeling, whether pictures of one digit are nearer to each other
# than to others.

by_sample = pfa.package_image_sets(images, ["digit", "place"], ["sample"])
rdm_df = pfa.get_rdms(
    by_sample,
    models,
    which_layers=layers,
    dissim_metrics=["corr"],
    activation_types=["unit_level"],
    progress=False,
)
tolerances = pfa.compute_tolerances(rdm_df)
indices = pfa.category_index(rdm_df, "digit", num_perms=199)
of_rdms = tolerances.assign(
    digit_category_index=indices["digit_category_index"], digit_p=indices["digit_p"]
)
columns = ["place_tolerance", "digit_category_index", "digit_p"]
print(of_rdms.groupby(["model", "layer"], sort=False)[columns].mean().round(3).to_string())

# %%
# The same on the command line, for networks of torchvision:
#
# .. code-block:: console
#
#    $ pfa anova stimuli --pattern '{digit}_{place}_{sample}.png' --factor digit,place \
#          --sample sample --model alexnet --out etas.csv --maps units.npz
#    $ pfa decode stimuli --pattern '{digit}_{place}_{sample}.png' --var1 digit --var2 place \
#          --decoding-type cross --cross-by leave_one_out --model alexnet --out decoding.csv
