"""
Large runs
==========

A thousand images, a deep network, all of its layers: the activations of ResNet-50 alone would
take 128 GB. The RDMs take a few. This tutorial shows how to know beforehand what a run costs,
how to keep it within an amount of memory, what happens when it is ended in the middle, and how
to share it out among processes or machines. None of this changes a single bit of the result.

It draws its own images, downloads nothing (the network has random weights), takes about a
minute, and writes into a folder ``tutorial_02``.
"""

import subprocess
import sys
import textwrap
import time
from pathlib import Path

import joblib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib import get_data_path
from PIL import Image, ImageDraw, ImageFont

import pytorch_feature_analysis as pfa

folder = Path("tutorial_02")
# sphinx_gallery_thumbnail_number = 2

# %%
# 1. One large set of images
# --------------------------
#
# Twelve letters in two typefaces and three colors: 72 images, which are one set, so that all are
# compared with all.

letters = "ABDEGHKMRSTX"
typefaces = {"sans": "DejaVuSans.ttf", "serif": "DejaVuSerif.ttf"}
colors = {"red": "#d62728", "green": "#2ca02c", "blue": "#1f77b4"}

for letter in letters:
    for typeface, file_name in typefaces.items():
        font = ImageFont.truetype(str(Path(get_data_path(), "fonts", "ttf", file_name)), 150)
        for color, rgb in colors.items():
            image = Image.new("RGB", (224, 224), "white")
            ImageDraw.Draw(image).text((112, 112), letter, fill=rgb, font=font, anchor="mm")
            file = folder / "stimuli" / f"{letter}_{typeface}_{color}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            image.save(file)

images = pfa.read_image_folder(folder / "stimuli", "{letter}_{typeface}_{color}.png")
image_sets = pfa.package_image_sets(images, ["letter", "typeface", "color"], [])
print(len(image_sets), "set of", len(image_sets[0][1]), "images")

# %%
# 2. What will it cost?
# ---------------------
#
# ``plan_rdms`` takes the arguments of ``get_rdms``, looks at the images, times the network with a
# few of them, and says what would be done. The patterns of a set have to wait until the set is
# complete. Where those of all layers fit into ``memory_budget``, one pass over the images serves
# all layers. Where they do not, the layers are shared out among several passes, each of which ends
# behind the deepest layer that it serves, or patterns wait in temporary files, whichever takes
# less time here.
#
# So few images would pass AlexNet at once, and none would wait; batches of 16 stand here for the
# thousands of images that do not fit into one.

models = pfa.prepare_models({"alexnet": ("alexnet", "random")}, transform="whole")
options = {"dissim_metrics": ["corr", "euclidean_distance"], "batch_size": 16}
budgets = ["1GB", "200MB", "100MB", "50MB"]
plans = pd.concat(
    [pfa.plan_rdms(image_sets, models, **options, memory_budget=budget) for budget in budgets]
)
plans.index = pd.Index(budgets, name="memory_budget")
print(plans[["regime", "passes", "memory_bytes", "file_bytes", "seconds"]].round(1).to_string())

# %%
fig, ax = plt.subplots(figsize=(7, 3.2), layout="constrained")
megabytes = plans[["memory_bytes", "file_bytes"]] / 1e6
ax.bar(budgets, megabytes["memory_bytes"], width=0.6, label="in memory", color="#4c72b0")
ax.bar(
    budgets,
    megabytes["file_bytes"],
    bottom=megabytes["memory_bytes"],
    width=0.6,
    label="in files",
    color="#c7d3e8",
)
for place, (passes, total) in enumerate(zip(plans["passes"], megabytes.sum(axis=1), strict=True)):
    ax.text(place, total + 5, f"{passes} pass{'es' * (passes > 1)}", ha="center")
ax.set(xlabel="memory_budget", ylabel="patterns that wait (MB)")
ax.set_ylim(0, 1.15 * megabytes.sum(axis=1).max())
ax.spines[["top", "right"]].set_visible(False)
ax.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
fig.savefig(folder / "plans.png", dpi=150)
plt.close(fig)

# %%
# 3. The same numbers in any amount of memory
# -------------------------------------------
#
# In each case the same batches pass, and the same products are made of the same patterns. So the
# results are not merely close: they are the same bits.

in_one_pass = pfa.get_rdms(image_sets, models, **options, memory_budget="1GB")
in_little_memory = pfa.get_rdms(image_sets, models, **options, memory_budget="50MB")
same_bits = all(
    np.array_equal(one, other)
    for one, other in zip(in_one_pass["matrix"], in_little_memory["matrix"], strict=True)
)
print("the same bits:", same_bits)

# %%
# 4. A run that is ended in the middle
# ------------------------------------
#
# What a run has finished lies in a folder beside its file, ``rdms.parquet.parts``, until all is
# finished. Here another process begins a run, and is killed as soon as its first pass is done.

script = """
    import pytorch_feature_analysis as pfa

    if __name__ == "__main__":
        images = pfa.read_image_folder("{folder}/stimuli", "{{letter}}_{{typeface}}_{{color}}.png")
        image_sets = pfa.package_image_sets(images, ["letter", "typeface", "color"], [])
        models = pfa.prepare_models({{"alexnet": ("alexnet", "random")}}, transform="whole")
        for layers in (["conv1", "relu1"], None):
            pfa.get_rdms(image_sets, models, "{folder}/rdms.parquet", progress=False,
                         which_layers=layers, **{options})
"""
code = textwrap.dedent(script).format(folder=folder.as_posix(), options=options)
process = subprocess.Popen([sys.executable, "-c", code])
out = folder / "rdms.parquet"
while process.poll() is None and not out.exists():
    time.sleep(0.01)
process.kill()
process.wait()
finished = pfa.read_rdms(out)
print(len(finished), "of", len(in_one_pass), "rows were finished, of", *finished["layer"].unique())

# %%
# The same call goes on behind what is finished, also on another day: each row knows from which
# images, weights and settings it was made, and is served where these are the same.

resumed = pfa.get_rdms(image_sets, models, out, **options, memory_budget="50MB")
print(
    "the same bits:",
    all(
        np.array_equal(one, other)
        for one, other in zip(in_one_pass["matrix"], resumed["matrix"], strict=True)
    ),
)

# %%
# 5. Many processes, many machines
# --------------------------------
#
# The units of work are passes, and they go through joblib. Two processes of this machine, which
# share the budget:

shared_out = pfa.get_rdms(
    image_sets, models, **options, num_cores=2, num_threads=1, memory_budget="200MB"
)
with joblib.parallel_config(n_jobs=1):
    alone = pfa.get_rdms(image_sets, models, **options, num_threads=1)
print(
    "the same bits:",
    all(
        np.array_equal(one, other)
        for one, other in zip(shared_out["matrix"], alone["matrix"], strict=True)
    ),
)

# %%
# Any backend that joblib knows does the same. For the machines of a cluster that is Dask
# (``pip install 'pytorch_feature_analysis[distributed]'``), here on SLURM with ``dask-jobqueue``;
# the workers need no disk in common with this process, which alone writes files:
#
# .. code-block:: python
#
#    from dask.distributed import Client
#    from dask_jobqueue import SLURMCluster
#
#    cluster = SLURMCluster(cores=4, processes=1, memory="16GB", walltime="02:00:00")
#    cluster.scale(jobs=20)
#    with Client(cluster), joblib.parallel_config(backend="dask"):
#        rdm_df = pfa.get_rdms(image_sets, models, "rdms.parquet", num_threads=4)
#
# On the command line: ``pfa rdms ... --scheduler tcp://10.0.0.1:8786``. A worker that dies has its
# work done by another.
#
# 6. What came of it
# ------------------
#
# What lies together: letters, colors or typefaces? In the image itself it is the letters, whose
# ink overlaps. In the third convolution of this network, which has learnt nothing, letter and
# color count about alike, and for its last layer color counts for more.

titles = {"original_rgb": "the image", "conv3": "conv3", "fc3": "fc3"}
shown = [("layer", list(titles)), ("activation_type", "unit_level"), ("dissim_metric", "corr")]
pfa.plot_mds_panels(
    pfa.df_filter(resumed, shown),
    names=titles,
    cond_pics=image_sets[0][1],
    pic_points=8,
    show=False,
    save_opts=folder / "letters.png",
)
