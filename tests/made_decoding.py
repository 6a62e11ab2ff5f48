"""Pictures with a trace of two variables, and analyses of them."""

import itertools

import numpy as np
from made_runs import prepared
from PIL import Image
from sklearn.svm import SVC

import pytorch_feature_analysis as pfa


def noise_images(n_objects=3, n_colors=4, groups=(1,), n_each=1, seed=0):
    """Noise with a trace of the object and of the colour, so that accuracies lie in between."""
    rng = np.random.default_rng(seed)
    shape = (8, 8, 3)
    objects, colors = (rng.normal(size=(n, *shape)) for n in (n_objects, n_colors))
    images = []
    for size in groups:
        for obj, color, _ in itertools.product(range(n_objects), range(n_colors), range(n_each)):
            mean = 128 + 12 * objects[obj] + 12 * colors[color]
            pixels = (mean + rng.normal(scale=30, size=shape)).clip(0, 255)
            picture = Image.fromarray(pixels.astype(np.uint8))
            images.append(
                {"path": picture, "obj": f"obj{obj}", "color": f"color{color}", "size": size}
            )
    return images


def analyse(images, models=None, layers=("conv1",), grouping=("size",), **options):
    options = {"progress": False, **options}
    models = prepared() if models is None else models
    return pfa.run_2way_svm_analysis(images, "obj", "color", grouping, models, layers, **options)


def accuracy_by_sklearn(units, labels, train, test):
    """Oracle: scikit-learn on the units, mean over the two bins of the share that is right.

    Lowest and highest: libsvm ends within 1e-3 of the optimum, so that what lies as near to the
    border as that may be told either way.
    """
    machine = SVC(kernel="linear", C=1).fit(units[train].astype(float), labels[train])
    values, target = machine.decision_function(units[test].astype(float)), labels[test]
    right = machine.predict(units[test].astype(float)) == target
    unsure = np.abs(values) < 1e-3 * np.abs(values).max()
    bins = [target == which for which in np.unique(target)]
    low, high = right & ~unsure, right | unsure
    return [np.mean([told[of].mean() for of in bins]) for told in (low, high)]
