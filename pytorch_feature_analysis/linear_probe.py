"""A linear probe: a trained classifier of features, its probabilities, and how good these are."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from pytorch_feature_analysis.pass_resources import using_threads
from pytorch_feature_analysis.probe_data import (
    check_features,
    check_targets,
    classes_of,
    codes_in,
    stratified,
)
from pytorch_feature_analysis.probe_search import Setting, search
from pytorch_feature_analysis.probe_settings import ProbeSettings
from pytorch_feature_analysis.probe_training import (
    Classifier,
    accuracy_of,
    train_adamw,
    train_logistic,
)

# With fewer classes, to be among the five most probable says little.
_FEWEST_FOR_TOP5 = 6


@dataclass(frozen=True)
class ProbeScores:
    """How good the probabilities of classes are."""

    accuracy: float
    """Share of samples whose class is the most probable."""
    accuracy_top5: float
    """Share of samples whose class is among the five most probable; NaN under 6 classes."""
    mean_per_class_recall: float
    """Mean over the classes of the targets of the share of their samples that are told rightly."""


@dataclass(frozen=True, eq=False)
class LinearProbe:
    """A linear classifier of features, trained by `fit_linear_probe`."""

    weights: np.ndarray
    """(n_classes, n_features), read-only."""
    bias: np.ndarray
    """(n_classes,), read-only."""
    classes: np.ndarray
    """(n_classes,), sorted, read-only."""
    solver: str
    seed: int
    learning_rate: float
    """NaN for logistic regression."""
    weight_decay: float
    """NaN for logistic regression."""
    C: float
    """NaN for AdamW."""
    validation_accuracy: float
    """By which the settings were chosen; NaN where there was nothing to choose."""

    def probabilities(
        self, features: npt.ArrayLike, classes: npt.ArrayLike | None = None
    ) -> np.ndarray:
        """Probabilities (n_samples, n_classes) of the classes, or of some of them, in their order.

        Those of some classes are the softmax over these alone: images that can be of no other
        class are not told to be of one.
        """
        x = check_features(features, argument="features", n_features=self.weights.shape[1])
        chosen = self._chosen(classes)
        return softmax(x @ self.weights[chosen].T + self.bias[chosen])

    def predict(self, features: npt.ArrayLike, classes: npt.ArrayLike | None = None) -> np.ndarray:
        """Most probable class of each sample, of all classes or of some of them."""
        most = self.probabilities(features, classes).argmax(axis=1)
        return self.classes[self._chosen(classes)][most]

    def score(
        self,
        features: npt.ArrayLike,
        targets: npt.ArrayLike,
        classes: npt.ArrayLike | None = None,
    ) -> ProbeScores:
        """Accuracy, top-5 accuracy and mean recall, where all classes may be told or some."""
        named = self.classes[self._chosen(classes)]
        return score_probabilities(self.probabilities(features, classes), targets, named)

    def _chosen(self, classes: npt.ArrayLike | None) -> np.ndarray:
        if classes is None:
            return np.arange(len(self.classes))
        named = check_targets(classes, np.size(classes), argument="classes")
        if not len(named) or len(np.unique(named)) < len(named):
            raise ValueError(f"`classes` must be one class or more, each once, not {classes!r}.")
        return codes_in(named, self.classes, argument="classes", of="the targets of the probe")


def score_probabilities(
    probabilities: npt.ArrayLike, targets: npt.ArrayLike, classes: npt.ArrayLike
) -> ProbeScores:
    """Accuracy, top-5 accuracy and mean recall of probabilities of classes.

    For probabilities of one's own making, such as the mean of those of several probes.

    Parameters
    ----------
    probabilities : array-like (n_samples, n_classes)
        They need not add up to 1; only their order within a sample counts. Of classes that are
        equally probable, the first counts as the more probable.
    targets : sequence of n_samples str or numbers
        The true classes.
    classes : sequence of n_classes str or numbers
        What the columns of `probabilities` are.

    Returns
    -------
    ProbeScores
        With the fields ``accuracy`` (share of samples whose class is the most probable),
        ``accuracy_top5`` (among the five most probable; NaN under 6 classes) and
        ``mean_per_class_recall`` (mean over the classes among the targets of the share of their
        samples that are told rightly: balanced accuracy), all from 0 to 1.

    See Also
    --------
    train_linear_probe : Probes, and their scores as a table.

    Examples
    --------
    >>> import pytorch_feature_analysis as pfa
    >>> probabilities = [[0.9, 0.1], [0.8, 0.2], [0.6, 0.4], [0.3, 0.7]]
    >>> scores = pfa.score_probabilities(probabilities, ["a", "a", "b", "b"], ["a", "b"])
    >>> scores.accuracy, scores.accuracy_top5, scores.mean_per_class_recall
    (0.75, nan, 0.75)
    """
    table = check_features(probabilities, argument="probabilities")
    named = check_targets(classes, table.shape[1], argument="classes")
    if len(np.unique(named)) < len(named):
        raise ValueError(f"`classes` must name each class once, and is {named.tolist()}.")
    true = check_targets(targets, len(table), argument="targets")
    order = np.argsort(named)
    place = order[codes_in(true, named[order], argument="targets", of="`classes`")]
    of_true = table[np.arange(len(table)), place][:, None]
    is_before = np.arange(len(named)) < place[:, None]
    rank = ((table > of_true) | ((table == of_true) & is_before)).sum(axis=1)
    recalls = [np.mean(rank[place == one] == 0) for one in np.unique(place)]
    has_top5 = len(named) >= _FEWEST_FOR_TOP5
    return ProbeScores(
        accuracy=float(np.mean(rank == 0)),
        accuracy_top5=float(np.mean(rank < 5)) if has_top5 else math.nan,
        mean_per_class_recall=float(np.mean(recalls)),
    )


def softmax(logits: np.ndarray) -> np.ndarray:
    """Turn each row into probabilities."""
    values = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: np.ndarray = values / values.sum(axis=1, keepdims=True)
    return shares


def fit_probe(
    x: np.ndarray, targets: np.ndarray, settings: ProbeSettings, seed: int
) -> LinearProbe:
    """Choose among the settings by validation, and train on all samples with the best.

    Features and targets are those of `check_features` and `check_targets`.
    """
    classes = classes_of(targets)
    y = np.searchsorted(classes, targets)
    n_threads = settings.num_threads
    with contextlib.nullcontext() if n_threads is None else using_threads(n_threads):
        fit = _fit_logistic if settings.solver == "logistic" else _fit_adamw
        (weights, bias), chosen = fit(x, y, classes, settings, seed)
    for array in (weights, bias, classes):
        array.flags.writeable = False
    unused = {"learning_rate": math.nan, "weight_decay": math.nan, "C": math.nan}
    return LinearProbe(weights, bias, classes, settings.solver, seed, **(unused | chosen))


_Fitted = tuple[Classifier, dict[str, float]]
"""A classifier, and the values of the fields that tell what was chosen."""


def _fit_logistic(
    x: np.ndarray, y: np.ndarray, classes: np.ndarray, settings: ProbeSettings, seed: int
) -> _Fitted:
    best, accuracy = settings.C[0], math.nan
    if settings.is_choice:
        kept, aside = stratified(y, classes, settings.validation, seed)
        accuracy = -math.inf
        # From the most regularised on, which wins ties.
        for C in sorted(settings.C):
            found = accuracy_of(train_logistic(x[kept], y[kept], C), x[aside], y[aside])
            if found > accuracy:
                best, accuracy = C, found
    return train_logistic(x, y, best), {"C": best, "validation_accuracy": accuracy}


def _fit_adamw(
    x: np.ndarray, y: np.ndarray, classes: np.ndarray, settings: ProbeSettings, seed: int
) -> _Fitted:
    inputs = torch.tensor(x, dtype=torch.float32, device=settings.device)
    codes = torch.tensor(y, device=settings.device)

    def train(places: np.ndarray | None, several: Sequence[Setting]) -> list[Classifier]:
        chosen = slice(None) if places is None else torch.as_tensor(places, device=inputs.device)
        return train_adamw(
            inputs[chosen],
            codes[chosen],
            len(classes),
            several,
            epochs=settings.epochs,
            batch_size=settings.batch_size,
            seed=seed,
        )

    rates, decays = settings.learning_rates, settings.weight_decays
    if decays is None or settings.is_choice:
        kept, aside = stratified(y, classes, settings.validation, seed)

        def scores_of(several: Sequence[Setting]) -> list[float]:
            return [accuracy_of(one, x[aside], y[aside]) for one in train(kept, several)]

        best, accuracy = search(scores_of, rates, decays)
    else:
        best, accuracy = Setting(rates[0], decays[0]), math.nan
    (classifier,) = train(None, [best])
    if math.isinf(accuracy_of(classifier, x[:1], y[:1])):
        raise ValueError(
            f"the weights of the probe have run away to infinity, with a learning rate of"
            f" {best.learning_rate:g} and a weight decay of {best.weight_decay:g}; give smaller"
            " `learning_rates` or `weight_decays`, or smaller features."
        )
    return classifier, {**best._asdict(), "validation_accuracy": accuracy}
