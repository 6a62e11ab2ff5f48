"""What a linear classifier can tell from features: accuracies, as a frame with one row a seed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy.typing as npt
import pandas as pd

from pytorch_feature_analysis._checks import check_name
from pytorch_feature_analysis.linear_probe import LinearProbe, fit_probe
from pytorch_feature_analysis.probe_data import check_features, check_targets
from pytorch_feature_analysis.probe_rows import MODES, ProbeData, check_variance
from pytorch_feature_analysis.probe_settings import ProbeSettings, check_seed, check_seeds


def train_linear_probe(
    features: npt.ArrayLike | Sequence[npt.ArrayLike],
    targets: npt.ArrayLike,
    test_features: npt.ArrayLike | Sequence[npt.ArrayLike],
    test_targets: npt.ArrayLike,
    *,
    mode: str = "single",
    variance: float = 0.99,
    solver: str = "logistic",
    seeds: Sequence[int] = (0, 1, 2),
    epochs: int = 20,
    batch_size: int = 1024,
    learning_rates: float | Sequence[float] = (1e-1, 1e-2, 1e-3, 1e-4),
    weight_decays: float | Sequence[float] | None = None,
    C: float | Sequence[float] = 1.0,
    validation: float = 0.2,
    device: Any = None,
    num_threads: int | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """Train a linear classifier on features, and test it on others.

    Where settings are to be chosen, part of the samples is set aside, in balance over classes; the
    settings that are best there are used to train on all samples.

    Parameters
    ----------
    features : array-like (n_samples, n_features), or list of such
        What to learn from; of several networks (for `mode`) a list of their tables, with the same
        samples in their rows. None of the data are changed.
    targets : sequence of n_samples str or numbers
        The classes.
    test_features : array-like (n_test, n_features), or list of such
        What to test with.
    test_targets : sequence of n_test str or numbers
        Their classes, all of which must be among `targets`.
    mode : {'single', 'concat', 'concat_pca', 'ensemble'}
        'single' takes the features of one network. The others take a list: 'concat' and
        'concat_pca' train one probe on what `combine_features` makes of them; 'ensemble' trains
        one for each and takes the mean of their probabilities.
    variance : float, default 0.99
        For 'concat_pca', as in `combine_features`.
    solver : {'logistic', 'adamw'}
        'logistic': scikit-learn's logistic regression with an L2 penalty, fast. 'adamw': batches
        and a search over learning rates and weight decays, as below.
    seeds : list of int, default ``(0, 1, 2)``
        A row each: which samples are set aside, how weights start, and how batches are drawn.
        Logistic regression with one `C` is the same for all, and fitted once.
    epochs, batch_size : int, default 20 and 1024
        For 'adamw'.
    learning_rates : float or list of float, default ``(1e-1, 1e-2, 1e-3, 1e-4)``
        For 'adamw': where they start, to fall to 0 along half a cosine.
    weight_decays : float or list of float, optional
        For 'adamw'. Default: a search on 64 points from 1e-6 to 10, nine a decade: each power of
        ten, then both neighbours of the best one, 4, 2 and 1 points away.
    C : float or list of float, default 1
        For 'logistic': the weight of the loss against the penalty. A list is searched.
    validation : float, default 0.2
        Share of the samples that is set aside.
    device : str or torch.device, optional
        Where 'adamw' trains; default the CPU.
    num_threads : int, optional
        Threads of torch and BLAS; default as they are set.
    progress : bool, default True
        Show a bar where there are several seeds.

    Returns
    -------
    DataFrame
        One row a seed with the columns

        - seed, solver, mode,
        - learning_rate, weight_decay, C: what was chosen; NaN for the other solver, and for an
          ensemble, whose members have their own,
        - validation_accuracy: of what was chosen; NaN where there was nothing to choose,
        - accuracy, accuracy_top5, mean_per_class_recall: see `score_probabilities`; from 0 to 1,
          1 where all are told rightly, ``accuracy_top5`` NaN under 6 classes,
        - n_train, n_test, n_features, n_classes.

    Raises
    ------
    ValueError
        Features that are NaN or infinite; test classes that are not among `targets`; a class
        with too few samples to set some aside.

    See Also
    --------
    fit_linear_probe : The trained classifier itself.
    probe_models : For a frame of features of many networks and datasets.

    Notes
    -----
    **Ties.** Among weight decays that are tried together the larger one wins, a neighbour must be
    better than the best so far, the first learning rate wins; of several `C` the smallest.

    **Precision.** 'adamw' trains in float32; 'logistic' in the precision of the features. The same
    seed gives the same numbers on the same machine, with the same number of threads.

    **Scale.** Both solvers depend on the scale of the features. Rows of unit length are customary;
    with these, and a few thousand samples or fewer, the default `batch_size` makes so few steps
    that a smaller one is more accurate, and a larger `C` often is.

    References
    ----------
    Loshchilov, I. and Hutter, F. (2019). Decoupled weight decay regularization. ICLR.
        https://doi.org/10.48550/arXiv.1711.05101
    Kornblith, S., Shlens, J. and Le, Q. V. (2019). Do better ImageNet models transfer better?
        CVPR. https://doi.org/10.1109/CVPR.2019.00277

    Examples
    --------
    Each of two networks sees one of two things that classes differ in; both see all:

    >>> import numpy as np
    >>> import pytorch_feature_analysis as pfa
    >>> rng = np.random.default_rng(0)
    >>> a, b = rng.integers(2, size=(2, 200))
    >>> classes = 2 * a + b
    >>> x, y = (5 * one[:, None] + rng.normal(size=(200, 2)) for one in (a, b))
    >>> train, test = slice(0, 100), slice(100, 200)
    >>> one = pfa.train_linear_probe(x[train], classes[train], x[test], classes[test], seeds=[0])
    >>> two = pfa.train_linear_probe(
    ...     [x[train], y[train]], classes[train], [x[test], y[test]], classes[test],
    ...     mode="concat", seeds=[0],
    ... )
    >>> one["accuracy"].round(1).item(), two["accuracy"].round(1).item()
    (0.6, 1.0)
    """
    check_name(mode, MODES, argument="mode", what="mode")
    share = check_variance(variance)
    settings = ProbeSettings.of(
        solver=solver,
        epochs=epochs,
        batch_size=batch_size,
        learning_rates=learning_rates,
        weight_decays=weight_decays,
        C=C,
        validation=validation,
        device=device,
        num_threads=num_threads,
    )
    checked_seeds = check_seeds(seeds)
    data = ProbeData.of(features, targets, test_features, test_targets, mode=mode)
    # Deferred: only a call needs it.
    from tqdm.auto import tqdm

    rows = data.rows(mode, share, settings, checked_seeds)
    is_quiet = not progress or len(checked_seeds) < 2
    return pd.DataFrame(list(tqdm(rows, "seeds", len(checked_seeds), disable=is_quiet)))


def fit_linear_probe(
    features: npt.ArrayLike,
    targets: npt.ArrayLike,
    *,
    solver: str = "logistic",
    seed: int = 0,
    epochs: int = 20,
    batch_size: int = 1024,
    learning_rates: float | Sequence[float] = (1e-1, 1e-2, 1e-3, 1e-4),
    weight_decays: float | Sequence[float] | None = None,
    C: float | Sequence[float] = 1.0,
    validation: float = 0.2,
    device: Any = None,
    num_threads: int | None = None,
) -> LinearProbe:
    """Train a linear classifier on features, to be used on any others.

    For what `train_linear_probe` does not make: tests with some of the classes only, as the
    variants of ImageNet need, or ensembles of one's own.

    Parameters
    ----------
    features : array-like (n_samples, n_features)
        What to learn from. It is not changed.
    targets : sequence of n_samples str or numbers
        The classes.
    solver : {'logistic', 'adamw'}
        As in `train_linear_probe`.
    seed : int, default 0
        Which samples are set aside, how weights start, and how batches are drawn.
    epochs, batch_size, learning_rates, weight_decays, C, validation, device, num_threads
        As in `train_linear_probe`.

    Returns
    -------
    LinearProbe
        With the fields ``weights`` (n_classes, n_features), ``bias``, ``classes`` (sorted),
        ``solver``, ``seed``, ``learning_rate``, ``weight_decay``, ``C``,
        ``validation_accuracy``, and the methods ``probabilities(features, classes=None)``,
        ``predict(features, classes=None)`` and ``score(features, targets, classes=None)``; with
        `classes`, all others are left out of the choice.

    See Also
    --------
    train_linear_probe : Trains and tests, as a frame with a row a seed.

    Examples
    --------
    Three clouds on a line. Without the class in the middle, its samples are told to be of the
    nearer of the others:

    >>> import numpy as np
    >>> import pytorch_feature_analysis as pfa
    >>> x = np.array([-4, -3, -1, 1, 3, 4])[:, None]
    >>> probe = pfa.fit_linear_probe(x, ["low", "low", "middle", "middle", "high", "high"])
    >>> probe.predict([[-2.5], [0.5], [5]]).tolist()
    ['low', 'middle', 'high']
    >>> probe.predict([[-2.5], [0.5], [5]], classes=["low", "high"]).tolist()
    ['low', 'high', 'high']
    """
    settings = ProbeSettings.of(
        solver=solver,
        epochs=epochs,
        batch_size=batch_size,
        learning_rates=learning_rates,
        weight_decays=weight_decays,
        C=C,
        validation=validation,
        device=device,
        num_threads=num_threads,
    )
    checked_seed = check_seed(seed)
    x = check_features(features, argument="features")
    return fit_probe(x, check_targets(targets, len(x), argument="targets"), settings, checked_seed)
