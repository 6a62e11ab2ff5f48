"""Every tutorial runs as it stands, in a folder of its own, and what its text says is so."""

import ast
import os
import re
import runpy
import signal
import subprocess
import sys
import time
from itertools import pairwise, takewhile
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from PIL import Image

import pytorch_feature_analysis as pfa

pytestmark = pytest.mark.slow

TUTORIALS = sorted((Path(__file__).parents[1] / "tutorials").glob("*.py"))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Run a tutorial, once; its folder and the names that it defined."""
    done = {}

    def run_once(path):
        if path not in done:
            folder = tmp_path_factory.mktemp(path.stem)
            with pytest.MonkeyPatch.context() as patch:
                patch.chdir(folder)
                done[path] = folder, runpy.run_path(str(path))
        return done[path]

    return run_once


def _called(number):
    (path,) = (path for path in TUTORIALS if path.name.startswith(f"{number}_"))
    return path


@pytest.fixture(scope="module")
def first(run):
    return run(_called("01"))


@pytest.fixture(scope="module")
def second(run):
    return run(_called("02"))


def test_there_are_tutorials():
    names = [path.stem for path in TUTORIALS]
    assert names[:2] == ["01_from_images_to_meta_rdms", "02_large_runs"]
    assert names[2:4] == ["03_rdm_metrics_and_cka", "04_svcca_and_transfer"]
    assert names[4:6] == ["05_minibatch_cka", "06_consistency_across_datasets"]
    assert names[6:8] == ["07_choosing_stimuli", "08_units_svm_anova"]
    assert names[8:] == ["09_models_and_reference_rdms"]


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_it_is_a_notebook_in_percent_format_with_its_text_in_rst(path):
    source = path.read_text(encoding="utf-8")
    title, underline, *_ = ast.get_docstring(ast.parse(source)).splitlines()
    assert underline == "=" * len(title)
    heads = re.findall(r"^#[ #]*%%.*$", source, re.MULTILINE)
    cells = re.split(r"^# %%\n", source, flags=re.MULTILINE)[1:]
    assert heads == ["# %%"] * len(cells)
    for cell in cells:
        assert cell.strip()
        story = [line[2:] for line in takewhile(lambda x: x.startswith("#"), cell.splitlines())]
        # A heading of Markdown, or code in its ticks.
        assert not [line for line in story if re.search(r"^#|```|(?<!`)`(?!`)", line)]
        for heading, underline in pairwise(story):
            if re.fullmatch(r"[-=]{3,}", underline):
                assert underline == "-" * len(heading)


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_it_runs_and_its_figures_are_whole(path, run):
    assert mpl.get_backend().lower() == "agg"
    folder, _ = run(path)
    figures = list(folder.glob("*/*.png"))
    assert figures
    for figure in figures:
        with Image.open(figure) as image:
            pixels = np.asarray(image.convert("RGB"), float)
        assert pixels.std() > 5
        # What is cut off reaches the edge; here it is paper.
        for edge in (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]):
            assert (edge == 255).all(), figure.name


def test_the_first_one_has_rdms_of_three_orders(first):
    folder, names = first
    # 4 objects x (22 layers of AlexNet + 11 of ResNet-18) x 2 metrics x 2 activation types.
    assert len(names["rdm_df"]) == 4 * (22 + 11) * 2 * 2 == 528
    assert len(names["object_df"]) == (22 + 11) * 2 * 2
    assert len(names["layer_df"]) == 4 * 2 * 2
    assert len(names["third_df"]) == 2 * 2
    shapes = {name: names[name]["matrix"].iloc[0].shape for name in ("rdm_df", "object_df")}
    assert shapes == {"rdm_df": (12, 12), "object_df": (4, 4)}
    assert names["layer_df"]["matrix"][0].shape == (33, 33)
    assert names["third_df"]["entry_keys_sub_sub"][0][0] == ("blue", "small")
    assert len(pfa.read_rdms(folder / "tutorial_01" / "third_order.parquet")) == 4


def test_the_first_one_draws_each_object_in_all_colors_and_views(first):
    folder, names = first
    assert len(names["images"]) == 4 * 4 * 3
    inked = {}
    for row in names["images"].itertuples():
        with Image.open(folder / row.path) as image:
            ink = np.asarray(image.convert("L")) < 250
        assert image.size == (224, 224)
        edges = np.concatenate([*ink[[0, -1]], *ink[:, [0, -1]].T])
        assert not edges.any(), f"{row.path} is cut off"
        inked[row.obj, row.color, row.view] = ink
    for obj in names["objects"]:
        upright, small = inked[obj, "red", "upright"], inked[obj, "red", "small"]
        assert 0.02 < small.mean() < 0.5 * upright.mean()
        # Another color has the same shape.
        assert (inked[obj, "blue", "upright"] == upright).mean() > 0.99
    shapes = np.array([inked[obj, "red", "upright"].ravel() for obj in names["objects"]])
    # A box would be drawn for a sign that the font lacks, and they would all be the same.
    assert np.corrcoef(shapes).max(initial=-1, where=~np.eye(4, dtype=bool)) < 0.8


def test_the_first_one_tells_of_color_and_view_what_is_so(first):
    _, names = first
    unlike = {
        title: [
            names["mean_dissimilarity"](row, same=same, different=different)
            for same, different in (("view", "color"), ("color", "view"))
        ]
        for title, row in names["panels"].items()
    }
    (image, units, means) = unlike.values()
    assert image[1] > image[0]
    assert units[1] > units[0]
    assert means[1] < means[0]
    row = list(names["panels"].values())[2]
    near = pd.DataFrame(row["matrix"].item(), *[list(row["entry_keys"].item())] * 2)
    large = [key for key in near.index if key[1] != "small"]
    near = near.loc[large, large].where(~np.eye(len(large), dtype=bool))
    for color in names["colors"]:
        assert near.loc[[(color, "upright")]].iloc[0].idxmin() == (color, "tilted")


def test_the_first_one_takes_the_four_that_differ_most(first):
    _, names = first
    matrix = names["panels"]["conv5, unit by unit"]["matrix"].item()
    indices = list(names["indices"])
    assert len(set(indices)) == 4
    np.testing.assert_array_equal(names["sub_rdm"], matrix[np.ix_(indices, indices)])
    rng = np.random.default_rng(0)
    chance = [
        pfa.get_upper_triang(matrix[np.ix_(s, s)]).mean()
        for s in rng.permuted(np.tile(np.arange(12), (200, 1)), axis=1)[:, :4]
    ]
    assert pfa.get_upper_triang(names["sub_rdm"]).mean() > np.quantile(chance, 0.95)


def test_the_first_one_finds_that_objects_agree_on_the_layers(first):
    _, names = first
    agreement = [1 - pfa.get_upper_triang(matrix).mean() for matrix in names["third_df"]["matrix"]]
    assert min(agreement) > 0.8


def test_the_second_one_gives_the_same_bits_in_every_way(second):
    _, names = second
    whole = names["in_one_pass"]
    assert len(whole) == (21 + 1) * 2 * 2
    for other in ("in_little_memory", "resumed"):
        for one, two in zip(whole["matrix"], names[other]["matrix"], strict=True):
            np.testing.assert_array_equal(one, two)
    for one, two in zip(names["shared_out"]["matrix"], names["alone"]["matrix"], strict=True):
        np.testing.assert_array_equal(one, two)


def test_the_second_one_plans_less_memory_for_smaller_budgets(second):
    _, names = second
    plans = names["plans"]
    assert plans["memory_bytes"].is_monotonic_decreasing
    for budget, held in plans["memory_bytes"].items():
        assert held < {"GB": 1e9, "MB": 1e6}[budget[-2:]] * float(budget[:-2])
    assert plans.loc["1GB", "passes"] == 1
    assert set(plans["regime"]) - {"one pass"} <= {"several passes", "file"}


def test_the_second_one_is_killed_with_some_rows_finished(second):
    _, names = second
    assert set(names["finished"]["layer"]) >= {"conv1", "relu1"}
    assert 0 < len(names["finished"]) < len(names["in_one_pass"])
    assert len(pfa.read_rdms(second[0] / names["out"])) == 88


def test_the_second_one_tells_of_letters_and_colors_what_is_so(second):
    _, names = second
    unlike = {}
    for layer in names["titles"]:
        row = names["resumed"]
        row = row[(row["layer"] == layer) & (row["activation_type"] == "unit_level")]
        row = row[row["dissim_metric"] == "corr"]
        matrix = row["matrix"].item()
        keys = pd.DataFrame(row["entry_keys"].item(), columns=["letter", "typeface", "color"])
        letter = np.equal.outer(keys["letter"].to_numpy(), keys["letter"].to_numpy())
        color = np.equal.outer(keys["color"].to_numpy(), keys["color"].to_numpy())
        unlike[layer] = matrix[letter & ~color].mean(), matrix[color & ~letter].mean()
    assert unlike["original_rgb"][0] < 0.8 * unlike["original_rgb"][1]
    assert 0.8 < unlike["conv3"][0] / unlike["conv3"][1] < 1.25
    assert unlike["fc3"][1] < 0.9 * unlike["fc3"][0]


def test_the_choices_of_the_seventh_are_what_its_text_says(run):
    _, names = run(_called("07"))
    assert len(names["rdm_df"]) == 2 * 4
    report = names["report"]
    assert report.mean >= report.greedy_mean > report.random_mean
    assert names["for_all"]["digit"].value_counts().tolist() == [2] * 10
    assert min(names["means"]["min"]) > min(names["means"]["mean"])
    assert names["mean"] == pytest.approx(0.35, abs=1e-6)
    assert names["p_value"] > 0.5
    assert names["correlations"]["the 12"] < names["correlations"]["all 300"] - 0.3


def test_the_units_of_the_eighth_carry_what_its_text_says(run):
    _, names = run(_called("08"))
    assert names["right"] > 0.8
    etas = names["etas"].set_index(["model", "layer"])
    digit, place = etas["digit_eta2_mean"], etas["place_eta2_mean"]
    assert digit["trained", "fc2"] > 0.8 > 10 * place["trained", "fc2"]
    assert place["untrained", "fc2"] > 0.6 > 5 * digit["untrained", "fc2"]
    same, new, of_place = (names["accuracies"][curve] for curve in names["curves"])
    assert same.drop(columns=["fc1", "fc2"]).to_numpy().min() > 0.9
    assert new.loc["trained", ["fc1", "fc2"]].min() > 0.9
    others = new.drop(columns=["fc1", "fc2"]).to_numpy().ravel().tolist()
    assert max([*others, *new.loc["untrained"]]) < 0.65
    assert of_place.loc["untrained"].min() > 0.95
    assert names["svm_df"]["dissim_metric"].unique().tolist() == ["svm_accuracy"]
    of_rdms = names["of_rdms"].groupby(["model", "layer"])["place_tolerance"].mean()
    assert of_rdms["trained", "fc2"] > 0.8
    assert of_rdms["untrained"].max() < 0 > of_rdms["trained", "conv3"]


def test_the_layers_of_the_fifth_are_alike_as_its_text_says(run):
    _, names = run(_called("05"))
    assert names["right"] > 0.9
    matrix = names["similar"]["matrix"].item()
    assert matrix.shape == (14, 14)
    np.testing.assert_allclose(np.diag(matrix), 1)
    # Pooled estimates are about that of the whole, whatever the size; means of biased ones rise.
    assert np.abs(np.array(names["pooled"]) - names["whole"]).max() < 0.05
    assert names["pooled"][-1] == pytest.approx(names["whole"], abs=1e-6)
    assert names["means"] == sorted(names["means"], reverse=True)
    assert names["means"][0] > names["whole"] + 0.1


def test_the_metrics_of_the_third_are_to_cka_what_its_text_says(run):
    _, names = run(_called("03"))
    assert len(names["table"]) == 10
    assert names["table"]["r"].min() > 0.9 > 0.85 > names["lowest"]["r"]
    assert set(names["lowest"][["metric_1", "metric_2"]]) == {"L2squared", "L2_normalize"}
    assert names["by_rank"]["r"].item() == pytest.approx(1, abs=1e-12)
    assert max(names["largest"].values()) < 1e-12
    assert names["by_rdms"]["double"] == pytest.approx(names["biased"], abs=1e-12)
    assert names["by_rdms"]["u"] == pytest.approx(names["debiased"], abs=1e-12)
    for n_samples, habit in ((1, (0.95, 0.99)), (40, (0.9995, 1))):
        of = names["agreement"][n_samples]
        double, u, double_upper = (
            of.loc[f"rsa(centering={how}, compare=cosine, rdm_metric=L2squared)"]
            for how in names["centrings"]
        )
        assert double["mean_abs_diff"] < 1e-12
        assert u["r"] == pytest.approx(of.loc["linear_cka(debiased=True)", "r"], abs=1e-9)
        assert 0 < double_upper["mean_abs_diff"] < u["mean_abs_diff"]
        assert habit[0] < double_upper["r"] < habit[1]


def test_the_measures_of_the_third_are_to_cka_what_its_text_says(run):
    _, names = run(_called("03"))
    assert names["by_metric"]["rho"].min() > 0.98
    similar = pfa.to_similarity(names["rsa_df"])["matrix"]
    upper = np.triu_indices(18, k=1)
    cka, *others = (matrix[upper] for matrix in similar)
    unlike = cka < 0.75
    below = [(cka - other)[unlike] for other in others]
    assert min(map(min, below)) > 0
    assert max(map(max, below)) == max(below[0]) == pytest.approx(0.23, abs=0.03)
    of = names["by_measure"]["r"]
    assert of[["procrustes_distance", "distance_correlation", "svcca(n_dims=10)"]].min() > 0.95
    assert of[["svcca", "cca"]].max() < 0.6
    by_cca = 1 - names["others_df"].set_index("dissim_metric")["matrix"]["cca"]
    wide = [k for k, x in enumerate(names["activations_df"]["activations"]) if x.shape[1] >= 400]
    np.testing.assert_allclose(by_cca[wide], 1, atol=1e-6)
    rows = names["sensitivity"].set_index(["measure", "n_stimuli"])
    biased, debiased = rows.loc["linear_cka"], rows.loc["linear_cka(debiased=True)"]
    assert biased.loc[10, "bias"] > 2 * biased.loc[10, "sd"]
    assert biased.loc[80, "bias"] > 0.008
    assert debiased["bias"].abs().max() < 0.01
    assert debiased.loc[10, "sd"] > 1.5 * biased.loc[10, "sd"]


def test_the_networks_of_the_fourth_are_alike_as_its_text_says(run):
    folder, names = run(_called("04"))
    assert min(names["right"].values()) > 0.9
    layers, net = names["layer_table"], names["net_table"]
    assert layers.shape == net.shape == (6, 6)
    np.testing.assert_allclose(layers.mean(), net["prime"])
    others = layers.drop(columns="prime").mean(axis=1)
    assert others.is_monotonic_decreasing
    assert others["relu1"] > 0.65 > 0.35 > others["relu6"]
    means = (net.sum() - 1) / 5
    assert means["digit"] == means.max()
    assert "0.8" in (folder / "tutorial_04" / "layers.html").read_text(encoding="utf-8")


def test_the_networks_of_the_fourth_gain_from_each_other_as_its_text_says(run):
    _, names = run(_called("04"))
    gains = names["gain_tables"]
    off_diagonal = ~np.eye(6, dtype=bool)
    own = [np.diag(gains[n_kept]).mean() for n_kept in (2, 4, 6)]
    assert 0.1 < own[0] < own[1] < own[2]
    assert (gains[2].to_numpy()[off_diagonal] > 0).mean() > 0.6
    for n_kept in (4, 6):
        of_one_question = gains[n_kept].to_numpy()[1:][off_diagonal[1:]]
        assert (of_one_question > 0.01).mean() < 0.15
    assert gains[6].loc["digit"].min() > 0.05


def test_the_gain_of_the_fourth_goes_with_similarity_as_its_text_says(run):
    _, names = run(_called("04"))
    assert names["results"]["n_pairs"].unique().tolist() == [30]
    worth = names["worth"].astype(float)
    r, p = worth["r"], worth["p"]
    assert r[2, "six"] > 0.4
    assert p[2, "six"] < 0.02
    for n_kept in (4, 6):
        assert 0 < r[n_kept, "six"] < 0.35
        assert p[n_kept, "six"] > 0.05
        assert r[n_kept, "five"] > r[n_kept, "six"] + 0.1
        # At the same similarities, the one network gives most, and is given least.
        gains = names["gain_tables"][n_kept]
        assert gains.loc["digit"].drop("digit").min() > gains["digit"].drop("digit").max() + 0.1
    five = worth.xs("five", level="networks")
    assert (five["p by shuffling"] > five["p"]).all()
    assert worth["n_pairs"].tolist() == [30, 20] * 3


def test_the_networks_of_the_sixth_are_alike_as_its_text_says(run):
    _, names = run(_called("06"))
    assert len(names["models"]) == 18
    assert len(names["images"]) == 5
    assert len(names["typefaces"]) == 21
    objective = np.array([name.split()[0] for name in names["models"]])
    same = pfa.get_upper_triang(objective[:, None] == objective)
    for table in names["tables"].values():
        of_pairs = pfa.get_upper_triang(table.to_numpy())
        assert len(of_pairs) == 153
        assert 0.03 < of_pairs[same].mean() - of_pairs[~same].mean() < 0.15


def test_the_study_file_of_the_sixth_gives_its_numbers_also_when_it_was_killed(run, tmp_path):
    folder, names = run(_called("06"))
    assert names["done"]["made"].tolist() == [True] * 3
    assert names["largest"] < 1e-12
    plan = pfa.plan_study(folder / "tutorial_06" / "study.toml")
    assert plan["step"].tolist() == [
        *("features", "similarity", "consistency", "probes", "performance"),
    ]
    assert plan["state"].tolist() == ["180 of 180 files", "done", "done", "to do", "to do"]

    for name in ("images", "weights", "networks.py", "models.csv", "study.toml"):
        (tmp_path / name).symlink_to(folder / "tutorial_06" / name)
    command = [sys.executable, "-m", "pytorch_feature_analysis", "study", "study.toml", "-q"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    results = tmp_path / "results"
    # In the middle of its features, and of its probes.
    for is_reached in (
        lambda: len(list(results.glob("features/*/*/*.npz"))) >= 60,
        lambda: len(list(results.glob("probes.csv"))) > 0,
    ):
        process = subprocess.Popen(command, cwd=tmp_path, env=environment)
        while not is_reached() and process.poll() is None:
            time.sleep(0.01)
        assert process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
    subprocess.run(command, cwd=tmp_path, env=environment, check=True)
    assert set(pfa.plan_study(tmp_path / "study.toml")["state"]) == {"180 of 180 files", "done"}
    whole = folder / "tutorial_06" / "results"
    for name in ("similarity.parquet", "consistency_rdms.parquet"):
        pd.testing.assert_frame_equal(
            pfa.read_rdms(results / name), pfa.read_rdms(whole / name), atol=1e-12
        )
    for name in ("consistency.csv", "consistency_tests.csv"):
        made, other = (pd.read_csv(place / name) for place in (results, whole))
        pd.testing.assert_frame_equal(made, other, atol=1e-12)
    accuracy = pd.read_csv(results / "probes.csv")["accuracy"]
    np.testing.assert_allclose(accuracy, names["probes"]["accuracy"], atol=1e-12)
    linked = pd.read_csv(results / "performance.csv")
    np.testing.assert_allclose(linked["r"], names["link"]["r"], atol=1e-9)


def test_the_consistency_of_the_sixth_is_what_its_text_says(run):
    _, names = run(_called("06"))
    of_all = names["of_all"]
    assert len(of_all) == 10
    assert of_all["ci_low"].min() > 0
    assert (of_all["ci_high"] - of_all["ci_low"]).median() > 0.3
    assert of_all["r"].max() < 0.85
    assert names["ceiling"]["r"].min() > 0.85
    medians = names["consistency"].query("by == 'all'").groupby("measure")["r"].median()
    assert np.ptp(medians) < 0.2
    r_table = names["r_table"]
    for row in of_all.itertuples():
        assert r_table.loc[row.dataset_1, row.dataset_2] == pytest.approx(row.r)


def test_the_sets_of_the_sixth_are_told_apart_no_better_than_its_text_says(run):
    _, names = run(_called("06"))
    alone = names["of_sets"].query("set_1 == set_2 == 'self-supervised'")
    has_letters = (alone["dataset_1"] == "letters") | (alone["dataset_2"] == "letters")
    assert alone.loc[has_letters, "r"].max() < 0.4
    assert alone.loc[~has_letters, "r"].min() > 0.6
    by_sets = names["by_sets"].loc["objective"]
    assert by_sets["median"].idxmin() == "autoencoder + autoencoder"
    of_sets = names["of_sets"]
    assert len(of_sets) == 150
    assert 0.1 < (of_sets["ci_low"] > 0).mean() < 0.35
    assert names["tests"][["p_bonferroni", "p_fdr"]].min().min() > 0.05


def test_the_performance_of_the_sixth_goes_with_similarity_as_its_text_says(run):
    _, names = run(_called("06"))
    link = names["link"].query("method == 'pearson'")
    r = link[link["measure"] == "linear CKA"].set_index("dataset")["r"]
    assert r.drop("photographs").max() < -0.1
    assert abs(r["photographs"]) < 0.15
    gaps = names["gaps"].query("dataset == 'letters' and similarity > 0.88")["gap"]
    assert gaps.max() > 0.12
    assert names["accuracy"]["photographs"].max() < 0.55
    assert names["accuracy"]["digits"].min() > 0.8


def test_the_ninth_finds_the_block_that_made_the_data_as_its_text_says(run):
    _, names = run(_called("09"))
    fits = names["fits"].set_index(["model", "layer"])
    trained = fits.loc["trained"]
    assert trained["r"].idxmax() == names["TRUE"] == "block 7"
    assert trained.loc["block 7", "r"] > trained.loc["block 7", "ceiling_low"]
    blocks = [name for name in trained.index if name.startswith("block")]
    assert trained.loc[blocks, "p_fdr"].max() < 0.05
    assert (fits.loc["untrained", "p_fdr"] < 0.05).any()
    differences = names["with_true"]
    assert len(differences) == 9
    assert differences["p_fdr"].max() < 0.05
    assert differences["difference"].abs().min() < 0.07
    assert names["nothing"]["p_fdr"].min() > 0.5


def test_the_ninth_tells_of_colours_what_its_text_says(run):
    _, names = run(_called("09"))
    r = names["as_people"].set_index(["model", "layer"])["r"]
    assert r.idxmax() == ("trained", "block 0")
    assert r["trained", "block 0"] > 0.85
    assert r["untrained", "block 0"] < r["trained", "image"]
    assert abs(r["trained", "classes"]) < 0.15
    (gain,) = names["gain"].to_dict("records")
    assert gain["ci_high"] < 0
    beyond = names["beyond_rgb"].set_index(["model", "layer"])
    assert beyond.loc[("trained", "block 0"), "ci_low"] > 0.5
    assert beyond.loc["untrained", "r"].max() < 0.2
