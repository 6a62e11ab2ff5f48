# %% [markdown]
# # From images to meta-RDMs
#
# Which colours and views of an object does a network hold apart? Is that the same for another
# object, at another layer, in another network? A *representational dissimilarity matrix* (RDM)
# answers the first question, a meta-RDM (an RDM whose entries are RDMs) the others.
#
# The stimuli are pictograms that are drawn here: six objects, each in four colours and three
# views. AlexNet has random weights, so that nothing is downloaded; with `'trained'` in place of
# `'random'` the same lines use the trained network.

# %%
import os
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from PIL import Image, ImageDraw, ImageFont

import pytorch_feature_analysis as pfa

folder = Path("tutorial_01")
# Where there is no screen, figures are still written.
show = "DISPLAY" in os.environ and mpl.get_backend().lower() != "agg"

# %% [markdown]
# ## Stimuli
# Any folder will do whose file names say what is in the pictures. Here they are
# `anchor/anchor_red_left.png` and so on.

# %%
OBJECTS = {
    "anchor": "\N{ANCHOR}",
    "knight": "\N{BLACK CHESS KNIGHT}",
    "phone": "\N{BLACK TELEPHONE}",
    "plane": "\N{AIRPLANE}",
    "scissors": "\N{BLACK SCISSORS}",
    "umbrella": "\N{UMBRELLA}",
}
COLORS = {"red": "#d1352b", "green": "#3a9a45", "blue": "#2f6fbb", "violet": "#8a4fa3"}
VIEWS = {"left": 30, "upright": 0, "right": -30}

font_file = Path(mpl.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
font = ImageFont.truetype(font_file, 150)
for obj, symbol in OBJECTS.items():
    (folder / "images" / obj).mkdir(parents=True, exist_ok=True)
    for color, code in COLORS.items():
        upright = Image.new("RGBA", (224, 224), (255, 255, 255, 0))
        ImageDraw.Draw(upright).text((112, 112), symbol, font=font, fill=code, anchor="mm")
        for view, angle in VIEWS.items():
            drawn = upright.rotate(angle, Image.Resampling.BICUBIC)
            drawn.save(folder / "images" / obj / f"{obj}_{color}_{view}.png")

# %% [markdown]
# `read_image_folder` makes a table of the files. `package_image_sets` turns it into image sets:
# one RDM will be made for each object, and its entries are the colours and views.

# %%
table = pfa.read_image_folder(folder / "images", "{obj}/{obj}_{color}_{view}.png")
image_sets = pfa.package_image_sets(table, ["color", "view"], ["obj"])
print(table.head(3))
print(f"{len(image_sets)} image sets; entries of the first: {list(image_sets[0][1])[:3]} ...")

# %% [markdown]
# ## Networks
# Two AlexNets that differ in their seed alone. Each model is the torch module itself, and carries
# its preprocessing. `'whole'` cuts nothing off the border.

# %%
models = {
    **pfa.prepare_models({"alexnet": ("alexnet", "random")}, transform="whole"),
    **pfa.prepare_models({"other_seed": ("alexnet", "random")}, transform="whole", random_state=1),
}
layers = pfa.fetch_layers(models["alexnet"])
print(list(layers.items())[:3])
print(pfa.index_nested(models["alexnet"]._modules, layers["fc2", 19]))

# %% [markdown]
# ## First order: RDMs of images
# One pass per image serves all layers, both activation types (`unit_level`: every unit;
# `feature_means`: the mean of each channel over space) and both metrics. The result is a plain
# frame with one RDM a row. Run it again: nothing is computed twice.

# %%
rdm_df = pfa.get_rdms(
    image_sets,
    models,
    folder / "rdms.parquet",
    "color_and_view",
    dissim_metrics=["corr", "euclidean_distance"],
    progress=False,
)
print(rdm_df.shape)
print(rdm_df[["model", "layer", "activation_type", "dissim_metric", "obj"]].head(4))

# %% [markdown]
# A filter is a list of conditions. What `conv1` put out is what is in its row, although the ReLU
# behind it works in place:

# %%
conditions = [
    ("model", "alexnet"),
    ("obj", "umbrella"),
    ("dissim_metric", "corr"),
    ("activation_type", "unit_level"),
]
conv1 = pfa.df_filter(rdm_df, [*conditions, ("layer", "conv1")])
relu1 = pfa.df_filter(rdm_df, [*conditions, ("layer", "relu1")])
assert not np.allclose(conv1["matrix"].item(), relu1["matrix"].item())

# %% [markdown]
# Multidimensional scaling shows an RDM with its pictures. Similar pictures lie close together.

# %%
pictures = image_sets[list(OBJECTS).index("umbrella")][1]
figure, axes = plt.subplots(1, 2, figsize=(10, 5.4), layout="constrained")
for ax, layer in zip(axes, ("conv1", "fc3"), strict=True):
    row = pfa.df_filter(rdm_df, [*conditions, ("layer", layer)])
    stress = pfa.rdm_mds(row, cond_pics=pictures, pic_size=0.16, ax=ax, show=False)
    ax.set_title(f"umbrellas at {layer}")
figure.savefig(folder / "umbrellas.png")

# %% [markdown]
# ## Second order: RDMs of RDMs
# Now each entry is an RDM: how alike are the objects, in how their colours and views are held
# apart? There is one such matrix for each layer, activation type and metric.

# %%
by_object = pfa.get_meta_rdms(
    rdm_df,
    folder / "by_object.parquet",
    dissim_metrics=["corr"],
    entry_variables=["obj"],
    grouping_variables=["model", "layer", "activation_type", "dissim_metric"],
    df_name="by_object",
)
print(by_object.shape)
fc3 = pfa.df_filter(
    by_object,
    [
        ("model", "alexnet"),
        ("layer", "fc3"),
        ("activation_type", "unit_level"),
        ("dissim_metric_sub", "corr"),
    ],
)
print(fc3["entry_keys"].item())
print(fc3["matrix"].item().round(2))

# %% [markdown]
# By construction its cells are correlations of the upper triangles below it:

# %%
below = pfa.df_filter(
    rdm_df,
    [
        ("model", "alexnet"),
        ("layer", "fc3"),
        ("activation_type", "unit_level"),
        ("dissim_metric", "corr"),
    ],
)
triangles = [pfa.get_upper_triang(matrix) for matrix in below["matrix"]]
assert np.allclose(fc3["matrix"].item(), 1 - np.corrcoef(triangles), atol=1e-12)

# %% [markdown]
# With layers as entries too, the path of each network through its layers can be drawn. The two
# seeds go much the same way through the convolutions, and part after them:

# %%
by_layer = pfa.get_meta_rdms(
    rdm_df,
    folder / "by_layer.parquet",
    dissim_metrics=["corr"],
    entry_variables=["model", "layer"],
    grouping_variables=["obj", "activation_type", "dissim_metric"],
    df_name="by_layer",
)
umbrella = pfa.df_filter(
    by_layer,
    [
        ("obj", "umbrella"),
        ("activation_type", "unit_level"),
        ("dissim_metric_sub", "corr"),
    ],
)
keys = umbrella["entry_keys"].item()
colors = {"alexnet": "#c1272d", "other_seed": "#2f6fbb"}
named = ("original_rgb", "conv1", "conv3", "conv5", "fc1", "fc3")
pfa.rdm_mds(
    umbrella,
    cond_colors={key: colors[key[0]] for key in keys},
    cond_labels={key: key[1] for key in keys if key[0] == "alexnet" and key[1] in named},
    line_trajectories=[
        (
            [key for key in keys if key[0] == model],
            {"linewidth": 1.5, "c": color, "label": model},
        )
        for model, color in colors.items()
    ],
    fig_title="Layers of two AlexNets with random weights",
    save_opts=folder / "layers.png",
    show=False,
)

# %% [markdown]
# ## Third order
# Do the objects agree on how the layers relate? Every level below is kept in columns that end in
# `_sub`.

# %%
third = pfa.get_meta_rdms(
    by_layer,
    folder / "third.parquet",
    dissim_metrics=["corr"],
    entry_variables=["obj"],
    grouping_variables=["activation_type", "dissim_metric", "dissim_metric_sub"],
    df_name="agreement_of_objects",
)
print(third[["activation_type", "dissim_metric", "dissim_metric_sub", "dissim_metric_sub_sub"]])
agreement = 1 - pfa.get_upper_triang(third["matrix"].iloc[0])
print(f"objects agree with r = {agreement.min():.2f} to {agreement.max():.2f}")

# %% [markdown]
# ## Which objects differ most?
# For the next experiment, take the three objects whose colours and views are represented most
# differently.

# %%
sub_rdm, inds = pfa.get_extreme_dissims_total(fc3["matrix"].item(), 3)
print([fc3["entry_keys"].item()[i][0] for i in inds])
print(sub_rdm.round(2))

# %% [markdown]
# ## What a number was made from
# The file knows, for every row, the weights, the images, the preprocessing and the settings.

# %%
origin = pfa.read_rdms(folder / "rdms.parquet", where=[("layer", "conv1")], provenance=True)
print(origin[["model_hash", "preprocessing", "batch_size", "versions"]].iloc[0].to_string())
if show:
    plt.show()
