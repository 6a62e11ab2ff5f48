"""
RDM metrics, and what they have to do with CKA
==============================================

"How alike are two layers?" has many answers: RDMs by one of several metrics, compared by one of
several correlations; centred kernel alignment (CKA); CCA; Procrustes distance. Some of these are
the same number under two names, some agree on what is alike and differ in the values, and some
do neither. This tutorial says which, in numbers.

The images are real handwritten digits, which come with scikit-learn; a network learns to read
them in a few seconds. Nothing is downloaded. It takes about half a minute, and writes into a
folder ``tutorial_03``.
"""

import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from PIL import Image, ImageOps
from sklearn.datasets import load_digits
from torch import nn
from torchvision import transforms

import pytorch_feature_analysis as pfa

folder = Path("tutorial_03")
# sphinx_gallery_thumbnail_number = 2
folder.mkdir(exist_ok=True)

# %%
# 1. One network that has learnt, and its twin that has not
# ---------------------------------------------------------
#
# Forty of each digit are the stimuli, in the order of the digits; the network learns from others.

digits = load_digits()
places = np.concatenate([np.flatnonzero(digits.target == digit)[:40] for digit in range(10)])
is_stimulus = np.isin(np.arange(len(digits.target)), places)


def as_picture(pixels):
    """Dark ink on white paper."""
    grey = Image.fromarray(np.uint8(255 - pixels * (255 / 16)))
    return grey.resize((32, 32), Image.Resampling.BICUBIC)


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
lessons = torch.stack([transform(as_picture(pixels)) for pixels in digits.images[~is_stimulus]])
answers = torch.as_tensor(digits.target[~is_stimulus])
optimizer = torch.optim.Adam(trained.parameters(), lr=2e-3)
for _ in range(8):
    for batch in torch.randperm(len(lessons)).split(64):
        optimizer.zero_grad()
        nn.functional.cross_entropy(trained(lessons[batch]), answers[batch]).backward()
        optimizer.step()

models = pfa.prepare_models(
    {"trained": (trained.eval(), transform), "untrained": (make_network(), transform)}
)
images = {
    (int(digits.target[place]), number % 40): as_picture(digits.images[place])
    for number, place in enumerate(places)
}
image_sets = [({}, images, ("digit", "sample"), [])]
layers = ["conv1", "relu1", "maxpool1", "conv2", "relu2", "maxpool2", "fc1", "relu3", "fc2"]
activations_df = pfa.get_activations(image_sets, models, layers, progress=False)
print(activations_df[["model", "layer"]].assign(shape=activations_df["activations"].map(np.shape)))

# %%
# 2. Five metrics on one layer
# ----------------------------
#
# The metrics are 1 less Pearson's correlation of two patterns, and four Euclidean distances: plain
# or squared (``L2``, ``L2squared``), of patterns as they are or of unit length
# (``..._normalize``). ``compare_rdm_metrics`` gives, for each pair of metrics, the mean absolute
# difference of the RDMs, cell by cell, and their correlation.

fc1 = pfa.df_filter(activations_df, [("model", "trained"), ("layer", "fc1")])
pairs = ["metric_1", "metric_2", "mean_abs_diff", "r"]
table = pfa.compare_rdm_metrics(fc1, progress=False)
print(table[pairs].round(3))

# %%
# The differences are mostly those of units: a distance of 30 and its square are far apart as
# numbers, and order the pairs of stimuli alike (Spearman's correlation of the two is 1). The
# correlations are all above 0.9 here, but that is no law: over all layers of both networks the
# lowest is 0.84, between squared distances and plain ones of unit length, which differ both in the
# square and in whether the strength of a response counts.

by_rank = pfa.compare_rdm_metrics(fc1, ["L2", "L2squared"], method="spearman", progress=False)
everywhere = pfa.compare_rdm_metrics(activations_df, progress=False)
lowest = everywhere.loc[everywhere["r"].idxmin()]
print(f"Spearman's, L2 and L2squared: {by_rank['r'].item():.6f}")
print("lowest:", *lowest[["model", "layer", "metric_1", "metric_2"]], f"{lowest['r']:.3f}")

# %%
# Some of the five are functions of each other, to the last digit: the squared distance of patterns
# of unit length is 2 (1 - cosine); and once the mean of each pattern is taken off, half of it is
# the correlation metric.

x = fc1["activations"].item().astype(float)
centred = x - x.mean(axis=1, keepdims=True)
exact = {
    "L2_normalize ** 2 = L2squared_normalize": (
        pfa.compute_rdm(x, "L2_normalize") ** 2,
        pfa.compute_rdm(x, "L2squared_normalize"),
    ),
    "L2squared_normalize = 2 cosine": (
        pfa.compute_rdm(x, "L2squared_normalize"),
        2 * pfa.compute_rdm(x, "cosine"),
    ),
    "pearson = half of L2squared_normalize, of x less its means": (
        pfa.compute_rdm(x, "pearson"),
        pfa.compute_rdm(centred, "L2squared_normalize") / 2,
    ),
}
largest = {name: np.abs(one - other).max() for name, (one, other) in exact.items()}
for name, difference in largest.items():
    print(f"{name}: to {difference:.0e}")

# %%
# 3. Centred RSA *is* CKA
# -----------------------
#
# Take the RDMs of squared distances of two layers, take the means of rows and columns off, and
# their cosine over all cells is linear CKA, exactly: centring turns squared distances into -2
# times the inner products that CKA compares. With U-centring, over the upper triangle, it is
# debiased CKA.
#
# A habit that looks much the same is to centre as in the first, and then to compare the triangles
# as in the second. But after centring the diagonal is not 0 any more, and belongs to the sum. What
# remains is neither of the two; it is near the debiased one where stimuli are many.

conv2 = pfa.df_filter(activations_df, [("model", "trained"), ("layer", "conv2")])
y = conv2["activations"].item().astype(float)
squared = [pfa.compute_rdm(table, "L2squared") for table in (x, y)]
biased, debiased = pfa.linear_cka(x, y), pfa.linear_cka(x, y, debiased=True)
by_rdms = {
    centering: pfa.compare_rdms(*squared, method="cosine", centering=centering)
    for centering in ("double", "u", "double_upper")
}
print(f"CKA {biased:.6f}, less double-centred RSA: {biased - by_rdms['double']:.0e}")
print(f"debiased CKA {debiased:.6f}, less U-centred RSA: {debiased - by_rdms['u']:.0e}")
print(f"double-centred, without the diagonal: {by_rdms['double_upper']:.6f}")

# %%
# How much the habit matters depends on the number of stimuli. ``compare_measures`` takes a stack
# of several measures, and says how far each agrees with one of them over all pairs of layers, here
# of both networks: once with one image of each digit, and once with all forty.
#
# Many layers have more units than there are stimuli, so that biased CKA would be far above 0 even
# for layers that have nothing in common. The library warns of that; here it is the subject, and
# the warning is turned off.

warnings.filterwarnings("ignore", message=".*as many units as stimuli or more")


def centred_rsa(centering):
    return ("rsa", {"rdm_metric": "L2squared", "compare": "cosine", "centering": centering})


def first_of_each_digit(df, n_samples):
    """Leave out all but the first few samples of every digit."""
    kept = [k for k, (_, sample) in enumerate(df["entry_keys"].iloc[0]) if sample < n_samples]
    return df.drop(columns="entry_labels").assign(
        activations=[table[kept] for table in df["activations"]],
        entry_keys=[tuple(keys[k] for k in kept) for keys in df["entry_keys"]],
    )


centrings = ["double", "u", "double_upper"]
agreement = {}
for n_samples in (1, 40):
    stack = pfa.get_similarity_rdms(
        first_of_each_digit(activations_df, n_samples),
        [("linear_cka", {"debiased": True}), "linear_cka", *map(centred_rsa, centrings)],
        ["model", "layer"],
        progress=False,
    )
    agreement[n_samples] = pfa.compare_measures(stack).set_index("measure")
    print(f"\n{10 * n_samples} stimuli, agreement with (biased) CKA:")
    print(agreement[n_samples][["r", "mean_abs_diff"]].round(6).to_string())

# %%
# Double-centred RSA agrees wholly, U-centred RSA is what debiased CKA is, and the habit lies
# between the two. With 10 stimuli, where the bias is large, neither the habit nor debiased CKA is
# the biased one, and a correlation of 0.98 is what is left of an identity. With 400 they are all
# nearly the same.
#
# 4. The usual RSA, by five metrics
# ---------------------------------
#
# As a rule RSA does not centre: it correlates the triangles. Then no metric gives CKA itself, and
# the question is how near the answers are.

metrics = table[["metric_1", "metric_2"]].stack().unique().tolist()
rsa_df = pfa.get_similarity_rdms(
    activations_df,
    ["linear_cka", *(("rsa", {"rdm_metric": metric}) for metric in metrics)],
    ["model", "layer"],
    progress=False,
)
by_metric = pfa.compare_measures(rsa_df).set_index("measure")
print(by_metric[["r", "rho", "mean_abs_diff"]].round(3).to_string())
pfa.plot_metric_comparison(
    fc1,
    rsa_df,
    names={
        "linear_cka": "linear CKA",
        **{f"rsa(rdm_metric={metric})": f"RSA, {metric}" for metric in metrics},
    },
    show=False,
    save_opts=folder / "five_metrics.png",
)

# %%
# The stimuli stand in the order of the digits, so that the dark squares on the diagonal are images
# of one digit. All five rank the pairs of layers nearly as CKA does. As values they differ: where
# layers are unlike (CKA below 0.75), all are below CKA, by up to 0.23 with the correlation metric.
# So a threshold, or a number from another study, does not carry over from one to the next.
#
# 5. Procrustes, CCA, distance correlation
# ----------------------------------------

others_df = pfa.get_similarity_rdms(
    activations_df,
    [
        "linear_cka",
        "procrustes_distance",
        "distance_correlation",
        ("svcca", {"n_dims": 10}),
        "svcca",
        "cca",
    ],
    ["model", "layer"],
    progress=False,
)
by_measure = pfa.compare_measures(others_df).set_index("measure")
print(by_measure[["r", "rho", "mean_abs_diff"]].round(3).to_string())
pfa.plot_measure_comparison(
    others_df,
    names={
        "linear_cka": "linear CKA",
        "procrustes_distance": "1 - Procrustes distance",
        "distance_correlation": "distance correlation",
        "svcca(n_dims=10)": "SVCCA, 10 dimensions",
        "svcca": "SVCCA, 99 % of the variance",
        "cca": "CCA",
    },
    show=False,
    save_opts=folder / "other_measures.png",
)

# %%
# Procrustes distance, distance correlation and SVCCA of ten dimensions tell the same story as CKA
# in other units. CCA does not: where a layer has as many units as there are stimuli, any other can
# be made of it by a linear map, and the answer is 1 whatever the layers are. SVCCA of 99 % of the
# variance keeps so many dimensions that it is on the way there.
#
# 6. How many stimuli?
# --------------------
#
# ``sample_size_sensitivity`` compares over random subsets of the stimuli, and over all: here a
# wide layer of the trained network with one of 64 units of its untrained twin.

sizes = [10, 20, 40, 80, 160, 320]
is_one = (activations_df["model"] == "trained") & (activations_df["layer"] == "conv1")
is_other = (activations_df["model"] == "untrained") & (activations_df["layer"] == "relu3")
sensitivity = pfa.sample_size_sensitivity(
    activations_df[is_one | is_other],
    ["linear_cka", ("linear_cka", {"debiased": True})],
    sizes,
    entry_variables=["model", "layer"],
    repeats=50,
    progress=False,
)
print(sensitivity[["measure", "n_stimuli", "mean", "sd", "full", "bias"]].round(3).to_string())

figure, ax = plt.subplots(figsize=(3.4, 2.8), layout="constrained")
styles = {
    "linear_cka": ("#D55E00", "s", "biased CKA"),
    "linear_cka(debiased=True)": ("#0072B2", "o", "debiased CKA"),
}
for measure, (color, marker, name) in styles.items():
    rows = sensitivity[sensitivity["measure"] == measure]
    ax.axhline(rows["full"].iloc[0], color=color, linewidth=0.8, linestyle=":")
    ax.errorbar(
        rows["n_stimuli"],
        rows["mean"],
        rows["sd"],
        color=color,
        marker=marker,
        markersize=4,
        linewidth=1,
        capsize=2,
        label=name,
    )
ax.set_xscale("log", base=2)
ax.set_xticks(sizes, map(str, sizes))
ax.minorticks_off()
ax.set(xlabel="stimuli", ylabel="CKA, mean and sd of 50 subsets")
ax.spines[["top", "right"]].set_visible(False)
ax.legend(frameon=False)
figure.savefig(folder / "sample_size.png", dpi=150)
plt.close(figure)

# %%
# With 10 stimuli the biased CKA is too high by more than twice its standard deviation over
# subsets, and still too high with 80. The debiased one is right on average from the start, but
# scatters more where stimuli are few: being right on average does not make one small sample
# right. The scatter at 320 looks smaller than it is, because any two subsets of 320 out of 400
# have most stimuli in common.
