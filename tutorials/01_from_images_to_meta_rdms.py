"""
From images to meta-RDMs
========================

Which images does a network take to be alike, and do its layers agree on that? A representational
dissimilarity matrix (RDM) answers the first question for one layer. Comparing the RDMs of
layers answers the second, and that comparison is an RDM again: of layers instead of images. It
can be filtered, drawn and compared like the first.

This tutorial draws its own images and downloads nothing: the networks have random weights, and
what we see is what their architecture does before it has learnt anything. It takes about half a
minute, and writes into a folder ``tutorial_01``.
"""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import get_data_path
from PIL import Image, ImageDraw, ImageFont

import pytorch_feature_analysis as pfa

folder = Path("tutorial_01")
# sphinx_gallery_thumbnail_number = 2

# %%
# 1. Images
# ---------
#
# Four objects, as pictograms of a font that comes with matplotlib, in four colors and three
# views. Each image says in its name what it shows.

objects = {"umbrella": "☂", "phone": "☎", "knight": "♞", "anchor": "⚓"}
colors = {"red": "#d62728", "green": "#2ca02c", "blue": "#1f77b4", "purple": "#9467bd"}
views = {"upright": (160, 0), "tilted": (160, 35), "small": (90, 0)}  # size, degrees
font_file = Path(get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")

for obj, sign in objects.items():
    for color, rgb in colors.items():
        for view, (size, degrees) in views.items():
            image = Image.new("RGB", (224, 224), "white")
            font = ImageFont.truetype(str(font_file), size)
            ImageDraw.Draw(image).text((112, 112), sign, fill=rgb, font=font, anchor="mm")
            image = image.rotate(degrees, Image.Resampling.BICUBIC, fillcolor="white")
            file = Path(folder, "stimuli", obj, f"{obj}_{color}_{view}.png")
            file.parent.mkdir(parents=True, exist_ok=True)
            image.save(file)

# %%
# ``read_image_folder`` reads the design off the file names. What tells the images of one RDM apart
# are *entry* variables, here color and view; what makes different RDMs are *grouping* variables,
# here the object. So there are four image sets of twelve images, and in each the same twelve
# entries.

images = pfa.read_image_folder(folder / "stimuli", "{obj}/{obj}_{color}_{view}.png")
image_sets = pfa.package_image_sets(images, entry_vars=["color", "view"], grouping_vars=["obj"])
print(images.head(3).to_string())
print(len(image_sets), "image sets, the first of", image_sets[0][0])

# %%
# 2. Networks
# -----------
#
# Two architectures, both with random weights. With a network connection, write ``"trained"`` in
# place of ``"random"``, or give a file of your own. ``transform="whole"`` shows the networks the
# whole image; the default is the preprocessing that the weights were trained with, which cuts
# borders.

models = pfa.prepare_models(
    {"alexnet": ("alexnet", "random"), "resnet18": ("resnet18", "random")}, transform="whole"
)

# %%
# Layers are called by type and number, and every layer has an address inside the network. Where
# blocks of layers are wanted rather than single ones, their module paths will do: we take
# ResNet-18 block by block.

address = pfa.fetch_layers(models["alexnet"])[("fc2", 19)]
print(address, "is", pfa.index_nested(models["alexnet"]._modules, address))

blocks = [f"layer{stage}.{block}" for stage in (1, 2, 3, 4) for block in (0, 1)]
which_layers = {"resnet18": ["original_rgb", "conv1", *blocks, "fc1"]}

# %%
# 3. First order: images
# ----------------------
#
# One call passes each image once through each network and computes the RDMs of all layers. AlexNet
# is not named in ``which_layers``, so all its layers are taken, and the image itself. Activation
# types: every unit for itself, or the mean of each feature map.

rdm_df = pfa.get_rdms(
    image_sets,
    models,
    folder / "rdms.parquet",
    "colors_and_views",
    which_layers=which_layers,
    dissim_metrics=["corr", "euclidean_distance"],
    progress=False,
)
print(len(rdm_df), "RDMs; columns:", ", ".join(rdm_df.columns))

# %%
# A stack of RDMs is an ordinary data frame, one RDM a row. Filter it down to the rows that are to
# be seen, and draw them: dark cells are pairs that are alike. These are ranks, from the most alike
# pair of an RDM to the least, since three such RDMs have little in common in their units.


def choose(model, layer, activation_type, obj="umbrella"):
    conditions = [("model", model), ("layer", layer), ("activation_type", activation_type)]
    return pfa.df_filter(rdm_df, [*conditions, ("obj", obj), ("dissim_metric", "corr")])


# An image set is (labels, {entry key: path}, entry types, combinations).
paths = next(paths for labels, paths, *_ in image_sets if labels["obj"] == "umbrella")
# Figures have no room for broad margins.
umbrellas = {key: Image.open(path).crop((40, 40, 184, 184)) for key, path in paths.items()}
panels = {
    "the image": choose("alexnet", "original_rgb", "unit_level"),
    "conv5, unit by unit": choose("alexnet", "conv5", "unit_level"),
    "conv5, means of maps": choose("alexnet", "conv5", "feature_means"),
}
some_df = pd.concat([row.assign(panel=title) for title, row in panels.items()])
pfa.plot_rdm(
    some_df,
    groups="view",
    pictures=umbrellas,
    scale="rank",
    titles="panel",
    num_columns=3,
    show=False,
    save_opts=folder / "umbrellas.png",
)

# %%
# The same as maps: near means alike. Each is turned to the one before, so that an umbrella stays
# where it was as far as it can. In the image it is the view that tells umbrellas apart, since a
# pixel knows little of color when the shape moves. In the last convolution of AlexNet that is so,
# too, unit by unit. The means of its maps forget where things are: the large umbrellas now go
# together by color, tilted or not.

pfa.plot_mds_panels(
    some_df,
    "panel",
    cond_pics=umbrellas,
    pic_size=0.11,
    show=False,
    save_opts=folder / "umbrella_maps.png",
)

# %%
# The same in numbers: how unlike are two images of one view in two colors, and two of one color in
# two views?


def mean_dissimilarity(row, same, different):
    keys = [dict(zip(("color", "view"), key, strict=True)) for key in row["entry_keys"].item()]
    return np.mean(
        [
            row["matrix"].item()[i, j]
            for i, a in enumerate(keys)
            for j, b in enumerate(keys)
            if a[same] == b[same] and a[different] != b[different]
        ]
    )


for title, row in panels.items():
    other_color = mean_dissimilarity(row, same="view", different="color")
    other_view = mean_dissimilarity(row, same="color", different="view")
    print(f"{title:<30} other color {other_color:.4f}  other view {other_view:.4f}")

# %%
# To go on with a few images that differ most from each other, take them from the RDM:

row = panels["conv5, unit by unit"]
sub_rdm, indices = pfa.get_extreme_dissims_total(row["matrix"].item(), 4)
print("most different:", [row["entry_keys"].item()[i] for i in indices])

# %%
# 4. Second order: objects, and layers
# ------------------------------------
#
# Do the umbrellas relate to each other as the phones do? Now the *objects* are the entries, and
# each layer makes an RDM of four by four: 1 - r of two objects' RDMs.

object_df = pfa.get_meta_rdms(
    rdm_df,
    folder / "objects.parquet",
    entry_variables=["obj"],
    grouping_variables=["model", "layer", "activation_type", "dissim_metric"],
    df_name="objects",
    progress=False,
)
row = pfa.df_filter(
    object_df,
    [
        ("layer", "conv1"),
        ("model", "alexnet"),
        ("activation_type", "unit_level"),
        ("dissim_metric_sub", "corr"),
    ],
)
print([key[0] for key in row["entry_keys"].item()])
print(row["matrix"].item().round(3))

# %%
# And with the *layers of both networks* as entries: one path from the image to the output for each
# network. A picture can stand for any entry; here, an umbrella for the image.

layer_df = pfa.get_meta_rdms(
    rdm_df,
    folder / "layers.parquet",
    entry_variables=["model", "layer"],
    grouping_variables=["obj", "activation_type", "dissim_metric"],
    df_name="layers",
    progress=False,
)
row = pfa.df_filter(
    layer_df,
    [("obj", "umbrella"), ("activation_type", "unit_level"), ("dissim_metric_sub", "corr")],
)
keys = row["entry_keys"].item()
of_model = {model: [key for key in keys if key[0] == model] for model in models}
labelled = {"conv1", "conv2", "conv5", "layer1.0", "layer2.0", "layer4.1", "fc1", "fc2", "fc3"}
tones = {"alexnet": "#d55e00", "resnet18": "#0072b2"}
pfa.rdm_mds(
    row,
    cond_colors={key: tones[key[0]] for key in keys},
    cond_labels={key: key[1] for key in keys if key[1] in labelled},
    cond_pics={(model, "original_rgb"): umbrellas["red", "upright"] for model in models},
    line_trajectories=[(of_model[model], {"c": tones[model], "label": model}) for model in models],
    fig_title="Layers, by what they make of twelve umbrellas",
    fig_size=5,
    plot_style=None,
    save_opts=folder / "layers.png",
)

# %%
# 5. Third order: do the objects agree on the layers?
# ---------------------------------------------------
#
# The same function once more. Its entries are now the four RDMs of layers that the four objects
# gave. The columns of the levels below gain ``_sub`` in their names, so nothing is lost.

third_df = pfa.get_meta_rdms(
    layer_df,
    folder / "third_order.parquet",
    entry_variables=["obj"],
    grouping_variables=["activation_type", "dissim_metric", "dissim_metric_sub"],
    df_name="objects_by_layers",
    progress=False,
)
for row in third_df.itertuples():
    agreement = 1 - pfa.get_upper_triang(row.matrix).mean()
    print(f"{row.activation_type:<14} {row.dissim_metric_sub_sub:<19} {agreement:.2f}")

# %%
# What came of what is on record in the stack, and can be drawn:

pfa.plot_stack_graph(third_df, show=False, save_opts=folder / "orders.png")

# %%
# To look around in a stack, ``explore`` writes it into a page for a browser: choose a row, slide
# from layer to layer, point at an entry and see its picture. It needs Bokeh
# (``pip install 'pytorch_feature_analysis[interactive]'``).

if find_spec("bokeh") is not None:
    umbrella_df = pfa.df_filter(rdm_df, ("obj", "umbrella"))
    print(pfa.explore(umbrella_df, paths, folder / "explore.html", progress=False))

# %%
# Everything is in files. ``read_rdms`` reads a whole stack or a part of it, and says what each row
# was made from. Since nothing of that has changed, the same call of ``get_rdms`` would now take
# its rows from the file and compute nothing.

conv1 = pfa.read_rdms(
    folder / "rdms.parquet", where=[("layer", "conv1"), ("obj", "phone")], provenance=True
)
print(conv1[["model", "activation_type", "dissim_metric", "preprocessing"]].to_string(index=False))
