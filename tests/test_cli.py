"""The commands of `pfa`: each does what its function does, and says in one line what is wrong."""

import contextlib
import functools
import io
import logging
import re
import subprocess
import sys
import warnings

import matplotlib.image
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from made_runs import SLOW, use_disk
from PIL import Image, ImageDraw

import pytorch_feature_analysis as pfa
from pytorch_feature_analysis import _cli_arguments, _cli_maps, _cli_rdm, cli
from pytorch_feature_analysis._cli_arguments import (
    parse_layers,
    parse_model,
    parse_models,
    read_where,
)
from pytorch_feature_analysis._cli_entries import find_pictures, join_by, label_entries
from pytorch_feature_analysis.cli import main

PATTERN = "{obj}/{obj}_{color}.png"
SIDES = {"cup": 3, "hat": 5}
COLORS = ("crimson", "seagreen", "orchid", "navy")
DESIGN = ["--pattern", PATTERN, "--entry", "color", "--group", "obj"]
NETWORK = ["--model", "squeezenet1_1:random", "--layer", "original_rgb,conv1,conv2"]


def pfa_(*words, **kwargs):
    """What `pfa` does with these words."""
    return CliRunner().invoke(main, [str(word) for word in words], **kwargs)


def run(*words):
    """What `pfa` prints, where all goes well."""
    result = pfa_(*words)
    assert result.exit_code == 0, result.output
    return result.stdout


def complaint(*words):
    """The one line that `pfa` has for bad input, without its 'Error: '."""
    result = pfa_(*words)
    assert result.exit_code == 2, (result.exit_code, result.output, result.exception)
    assert result.stdout == ""
    assert re.fullmatch(r"Error: .+\n", result.stderr), result.stderr
    return result.stderr.removeprefix("Error: ").strip()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Folder with images, and the stacks that `pfa rdms` and `pfa meta` make of them."""
    path = tmp_path_factory.mktemp("cli")
    for obj, sides in SIDES.items():
        for color in COLORS:
            image = Image.new("RGB", (64, 64), "white")
            ImageDraw.Draw(image).regular_polygon((32, 32, 28), sides, fill=color)
            file = path / "stimuli" / obj / f"{obj}_{color}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            image.save(file)
    run("rdms", path / "stimuli", *DESIGN, *NETWORK, "--out", path / "stack.parquet")
    layers = ["--entry", "layer", "--keep", "model"]
    run("meta", path / "stack.parquet", *layers, "--out", path / "layers.parquet")
    return path


@pytest.fixture
def stack(folder):
    return pfa.read_rdms(folder / "stack.parquet")


def python_stack(folder, **options):
    """What the functions make of the same images."""
    table = pfa.read_image_folder(folder / "stimuli", PATTERN)
    models = {"squeezenet1_1_random": ("squeezenet1_1", "random")}
    return pfa.get_rdms(
        pfa.package_image_sets(table, ["color"], ["obj"]),
        pfa.prepare_models(models, random_state=options.get("random_state", 0)),
        which_layers=["original_rgb", "conv1", "conv2"],
        progress=False,
        **options,
    )


# rdms


def test_rdms_writes_what_get_rdms_gives(folder, stack):
    pd.testing.assert_frame_equal(stack, python_stack(folder))


def test_rdms_says_what_is_in_the_stack(folder, tmp_path):
    said = run("rdms", folder / "stimuli", *DESIGN, *NETWORK, "--out", tmp_path / "a.p")
    counts = "layer 3, layer_num 3, activation_type 2, obj 2"
    assert said == f"{tmp_path / 'a.p'}: 12 RDMs ({counts})\n"


def test_rdms_hands_all_options_on(folder, tmp_path):
    options = "--metric cosine --metric spearman --activation-type unit_level --num-perms 2"
    options += " --seed 3 --batch-size 4 --num-cores 1 --device cpu --name mine"
    out = tmp_path / "a.parquet"
    run("rdms", folder / "stimuli", *DESIGN, *NETWORK, *options.split(), "--out", out)
    expected = python_stack(
        folder,
        dissim_metrics=["cosine", "spearman"],
        activation_types=["unit_level"],
        num_perms=2,
        random_state=3,
        batch_size=4,
        rdm_name="mine",
    )
    pd.testing.assert_frame_equal(pfa.read_rdms(out), expected)


def test_rdms_prepares_images_as_asked(folder, tmp_path, stack):
    out = tmp_path / "a.parquet"
    whole = ["--transform", "whole", "--out", out]
    run("rdms", folder / "stimuli", *DESIGN, *NETWORK, *whole)
    assert not np.allclose(pfa.read_rdms(out)["matrix"][0], stack["matrix"][0])


def test_rdms_without_a_group_makes_one_image_set(folder, tmp_path):
    out = tmp_path / "a.parquet"
    design = ["--pattern", PATTERN, "--entry", "obj,color"]
    layer = ["--model", "squeezenet1_1:random", "--layer", "original_rgb"]
    run("rdms", folder / "stimuli", *design, *layer, "--out", out)
    rdm_df = pfa.read_rdms(out)
    assert len(rdm_df) == 2
    assert len(rdm_df["entry_keys"][0]) == 8


def test_values_between_commas_are_those_of_a_repeated_option(folder, tmp_path):
    command = ["rdms", folder / "stimuli", "--pattern", PATTERN, *NETWORK]
    run(*command, "--entry", "obj", "--entry", "color", "--out", tmp_path / "a.parquet")
    run(*command, "--entry", "obj, color", "--out", tmp_path / "b.parquet")
    a, b = (pfa.read_rdms(tmp_path / name) for name in ("a.parquet", "b.parquet"))
    pd.testing.assert_frame_equal(a, b)


def test_a_second_call_computes_nothing_again(folder, tmp_path, monkeypatch):
    command = ["rdms", folder / "stimuli", *DESIGN, *NETWORK, "--out", tmp_path / "a.parquet"]
    said = run(*command)
    result = pfa_(*command, "--debug")
    assert "12 rows: 12 served" in result.stderr
    assert result.stdout == said


@pytest.fixture
def calls(monkeypatch):
    """Keyword arguments of each call of `get_rdms` and `plan_rdms`, which do nothing."""
    made = []

    def keep(name, frame):
        def call(*_args, **options):
            made.append((name, options))
            return frame

        return call

    monkeypatch.setattr(cli, "get_rdms", keep("get_rdms", pd.DataFrame({"model": ["net"]})))
    monkeypatch.setattr(cli, "plan_rdms", keep("plan_rdms", pd.DataFrame({"model": ["net"]})))
    return made


@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
def test_rdms_hands_the_options_of_large_runs_on(folder, tmp_path, calls, dry):
    command = ["rdms", folder / "stimuli", *DESIGN, *NETWORK, "--out", tmp_path / "a.p", *dry]
    options = "--batch-size auto --memory-budget 1.5GB --num-threads 2 --num-cores 3"
    run(*command, *options.split())
    run(*command, "--batch-size", 7)
    run(*command)
    assert {name for name, _ in calls} == {"plan_rdms" if dry else "get_rdms"}
    names = ("batch_size", "memory_budget", "num_threads", "num_cores")
    assert [tuple(given[name] for name in names) for _, given in calls] == [
        ("auto", "1.5GB", 2, 3),
        (7, None, None, None),
        (None, None, None, None),
    ]


def test_a_small_budget_makes_more_passes_and_the_same_stack(folder, tmp_path, monkeypatch):
    use_disk(monkeypatch, SLOW)
    command = ["rdms", folder / "stimuli", *DESIGN, *NETWORK, "--batch-size", 2]
    small = ["--memory-budget", "7MB"]
    assert "several passes" in run(*command, *small, "--dry-run", "--out", tmp_path / "a.parquet")
    assert "one pass" in run(*command, "--dry-run", "--out", tmp_path / "a.parquet")
    run(*command, *small, "--out", tmp_path / "a.parquet")
    run(*command, "--out", tmp_path / "b.parquet")
    a, b = (pfa.read_rdms(tmp_path / name) for name in ("a.parquet", "b.parquet"))
    pd.testing.assert_frame_equal(a, b, check_exact=True)


@pytest.mark.parametrize("is_there", [False, True])
def test_a_dry_run_prints_the_plan_and_writes_nothing(folder, tmp_path, monkeypatch, is_there):
    out = tmp_path / "out" / "a.parquet"
    out.parent.mkdir()
    if is_there:
        out.write_bytes((folder / "stack.parquet").read_bytes())

    def compute(*_args, **_options):
        pytest.fail("RDMs are computed")

    monkeypatch.setattr(cli, "get_rdms", compute)
    said = run("rdms", folder / "stimuli", *DESIGN, *NETWORK, "--dry-run", "--out", out)
    table = dict(re.split(r"\s{2,}", line, maxsplit=1) for line in said.splitlines())
    models = pfa.prepare_models({"squeezenet1_1_random": ("squeezenet1_1", "random")})
    plan = pfa.plan_rdms(
        pfa.package_image_sets(
            pfa.read_image_folder(folder / "stimuli", PATTERN), ["color"], ["obj"]
        ),
        models,
        which_layers=["original_rgb", "conv1", "conv2"],
    )
    assert list(table) == list(plan.columns)
    # All but what was measured.
    measured = {"full_passes", "seconds"}
    for name in set(table) - measured:
        assert table[name] == str(plan[name].item()), name
    assert float(table["seconds"]) > 0
    assert [path.name for path in out.parent.iterdir()] == ["a.parquet"] * is_there
    if is_there:
        assert out.read_bytes() == (folder / "stack.parquet").read_bytes()


def test_the_work_is_done_while_the_scheduler_is_used(folder, tmp_path, monkeypatch, calls):
    @contextlib.contextmanager
    def connect(address):
        calls.append(("connected", address))
        yield
        calls.append(("disconnected", address))

    monkeypatch.setattr(cli, "using_scheduler", connect)
    command = ["rdms", folder / "stimuli", *DESIGN, *NETWORK, "--out", tmp_path / "a.p"]
    run(*command)
    assert [what for what, _ in calls] == ["get_rdms"]
    calls.clear()
    address = ["--scheduler", "tcp://10.0.0.1:8786"]
    run(*command, *address)
    run(*command, *address, "--dry-run")
    there = [("connected", address[1]), ("disconnected", address[1])]
    assert [call for call in calls if "_rdms" not in call[0]] == 2 * there
    assert [what for what, _ in calls[1::3]] == ["get_rdms", "plan_rdms"]


def test_a_scheduler_that_does_not_answer_or_cannot_be_asked_is_one_line(
    folder, tmp_path, monkeypatch
):
    out = tmp_path / "a.p"
    hasty = functools.partial(cli.using_scheduler, timeout=0.2)
    monkeypatch.setattr(cli, "using_scheduler", hasty)
    command = ["rdms", folder / "stimuli", *DESIGN, *NETWORK, "--out", out]
    for dry in ([], ["--dry-run"]):
        said = complaint(*command, "--scheduler", "tcp://127.0.0.1:9", *dry)
        assert said.startswith("--scheduler is 'tcp://127.0.0.1:9', but nothing answers there wit")
        assert "Start one with `dask scheduler`" in said
    assert "missing port" in complaint(*command, "--scheduler", "somewhere")
    monkeypatch.setitem(sys.modules, "distributed", None)
    said = complaint(*command, "--scheduler", "tcp://127.0.0.1:9")
    assert said.startswith("--scheduler needs Dask, which is not installed: pip install 'pytorch_")
    assert not out.exists()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("alexnet", ("alexnet", "alexnet", "trained")),
        ("alexnet:trained", ("alexnet", "alexnet", "trained")),
        ("alexnet:random", ("alexnet_random", "alexnet", "random")),
        ("twin=alexnet:random", ("twin", "alexnet", "random")),
        ("resnet50:IMAGENET1K_V1", ("resnet50_IMAGENET1K_V1", "resnet50", "IMAGENET1K_V1")),
        ("vgg11:a/b=c.pth", ("vgg11_b=c", "vgg11", "a/b=c.pth")),
        ("r=vgg11:https://x.org/b.pth?v=1", ("r", "vgg11", "https://x.org/b.pth?v=1")),
    ],
)
def test_a_model_is_a_network_with_weights_and_a_name(text, expected):
    assert parse_model(text) == expected


def test_the_same_model_twice_is_computed_once_and_two_of_one_name_are_refused(caplog):
    models = parse_models(["alexnet:random", "alexnet:random"])
    assert models == {"alexnet_random": ("alexnet", "random")}
    assert "--model alexnet_random_2=alexnet:random" in caplog.text
    with pytest.raises(ValueError, match="second one called 'a'; give it a name of its own"):
        parse_models(["a=alexnet:random", "a=vgg11:random"])


def test_layers_are_those_of_all_networks_or_of_one():
    models = {"a": 1, "b": 2}
    assert parse_layers([], models) is None
    assert parse_layers(["conv1", "fc1"], models) == ["conv1", "fc1"]
    assert parse_layers(["conv1", "a=fc1"], models) == {"a": ["conv1", "fc1"], "b": ["conv1"]}
    # Networks that are not named give all their layers.
    assert parse_layers(["a=fc1"], models) == {"a": ["fc1"]}


# meta


def test_meta_writes_what_get_meta_rdms_gives(folder, stack):
    expected = pfa.get_meta_rdms(stack, None, ["layer"], keep_variables=["model"], progress=False)
    pd.testing.assert_frame_equal(pfa.read_rdms(folder / "layers.parquet"), expected)


def test_meta_hands_all_options_on(folder, stack, tmp_path):
    options = "--entry obj,layer --group activation_type --metric spearman --num-perms 3"
    options += " --seed 5 --name mine --num-cores 1 --where activation_type=unit_level"
    said = run("meta", folder / "stack.parquet", *options.split(), "--out", tmp_path / "m.pkl")
    expected = pfa.get_meta_rdms(
        pfa.df_filter(stack, ("activation_type", "unit_level")),
        None,
        ["obj", "layer"],
        grouping_variables=["activation_type"],
        df_name="mine",
        num_perms=3,
        dissim_metrics=["spearman"],
        random_state=5,
        progress=False,
    )
    pd.testing.assert_frame_equal(pfa.read_rdms(tmp_path / "m.pkl"), expected)
    assert said == f"{tmp_path / 'm.pkl'}: 4 RDMs (perm 4)\n"


# mds


ONE_ROW = [
    *["--where", "obj=cup", "--where", "layer=conv1"],
    *["--where", "activation_type=unit_level"],
]


@pytest.fixture
def drawn(monkeypatch):
    """Arguments of each map that is drawn, and its stress."""
    calls = []

    def keep(row, dims, **options):
        stress = pfa.rdm_mds(row, dims, **options)
        calls.append((row, {**options, "dims": dims}, stress))
        return stress

    monkeypatch.setattr(_cli_maps, "rdm_mds", keep)
    return calls


def test_mds_draws_the_row_that_was_chosen(folder, stack, tmp_path, drawn):
    out = tmp_path / "map.png"
    said = run("mds", folder / "stack.parquet", *ONE_ROW, "--title", "Cups", "--out", out)
    ((row, options, stress),) = drawn
    wanted = [("obj", "cup"), ("layer", "conv1"), ("activation_type", "unit_level")]
    expected = pfa.df_filter(stack, wanted)
    np.testing.assert_array_equal(row["matrix"], expected["matrix"].item())
    assert stress == pytest.approx(pfa.rdm_mds(expected, show=False))
    assert said == f"{out}: 4 entries, stress {stress:.4g}\n"
    assert options["fig_title"] == "Cups"
    assert options["cond_labels"] == {(color,): color for color in COLORS}
    assert options["cond_pics"] is None
    assert min(matplotlib.image.imread(out).shape[:2]) > 500


def test_mds_draws_pictures_of_the_entries_of_this_row(folder, tmp_path, drawn):
    command = ["mds", folder / "stack.parquet", *ONE_ROW, "--out", tmp_path / "map.png"]
    pictures = ["--pictures", folder / "stimuli", "--pattern", PATTERN]
    run(*command, *pictures)
    _, options, _ = drawn[0]
    assert options["cond_pics"] == {
        (color,): str(folder / "stimuli" / "cup" / f"cup_{color}.png") for color in COLORS
    }
    # They need no labels, unless these are asked for.
    assert options["cond_labels"] is None
    run(*command, *pictures, "--labels")
    assert drawn[1][1]["cond_labels"] == {(color,): color for color in COLORS}
    run(*command, "--no-labels")
    assert drawn[2][1]["cond_labels"] is None


def test_mds_hands_its_options_on(folder, tmp_path, drawn):
    options = ["--dims", 3, "--method", "classical", "--seed", 4]
    run("mds", folder / "stack.parquet", *ONE_ROW, *options, "--out", tmp_path / "map.pdf")
    _, given, _ = drawn[0]
    assert (given["dims"], given["method"], given["random_state"]) == (3, "classical", 4)
    assert (tmp_path / "map.pdf").read_bytes().startswith(b"%PDF")


def test_rdm_draws_all_rows_that_were_chosen(folder, stack, tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(
        _cli_rdm, "plot_rdm", lambda df, **options: calls.append((df, pfa.plot_rdm(df, **options)))
    )
    out = tmp_path / "rdms.png"
    chosen = ["--where", "obj=cup", "--where", "activation_type=unit_level"]
    pictures = ["--pictures", folder / "stimuli", "--pattern", PATTERN]
    options = ["--order", "linkage", "--groups", "color", "--scale", "rank", "--half", "lower"]
    said = run("rdm", folder / "stack.parquet", *chosen, *pictures, *options, "--out", out)
    assert said == f"{out}: 3 RDMs\n"
    ((drawn, panels),) = calls
    expected = pfa.df_filter(stack, [("obj", "cup"), ("activation_type", "unit_level")])
    assert drawn["layer"].tolist() == expected["layer"].tolist()
    assert [ax.get_title() for ax in panels] == ["original_rgb", "conv1", "conv2"]
    assert panels[0].images[0].get_clim() == (0, 1)
    assert min(matplotlib.image.imread(out).shape[:2]) > 300
    run("rdm", folder / "stack.parquet", *ONE_ROW, "--title", "Cups", "--out", tmp_path / "a.pdf")
    assert (tmp_path / "a.pdf").read_bytes().startswith(b"%PDF")


@pytest.fixture
def row():
    """RDM of two layers of two networks."""
    keys = [(model, layer) for model in ("alexnet", "vgg11") for layer in ("conv1", "fc1")]
    labels = tuple({"model": model, "layer": layer} for model, layer in keys)
    cells = {"matrix": np.ones((4, 4)), "entry_keys": tuple(keys), "entry_labels": labels}
    return pd.Series(cells | {"obj": "cup"})


def test_lines_join_the_entries_of_one_value_in_one_colour(row):
    drawing = join_by(row, "model")
    (first, first_options), (second, second_options) = drawing["line_trajectories"]
    assert first == [("alexnet", "conv1"), ("alexnet", "fc1")]
    assert second == [("vgg11", "conv1"), ("vgg11", "fc1")]
    assert (first_options["label"], second_options["label"]) == ("alexnet", "vgg11")
    assert first_options["c"] != second_options["c"]
    assert drawing["cond_colors"] == {
        **dict.fromkeys(first, first_options["c"]),
        **dict.fromkeys(second, second_options["c"]),
    }
    # The colour says which network it is, so the label need not.
    assert label_entries(row, "model")["vgg11", "fc1"] == "fc1"
    assert label_entries(row, None)["vgg11", "fc1"] == "vgg11, fc1"
    # Nor need it where there is one network.
    one = {name: row[name][2:] for name in ("entry_keys", "entry_labels")}
    assert label_entries(pd.Series(one), None) == {
        ("vgg11", "conv1"): "conv1",
        ("vgg11", "fc1"): "fc1",
    }
    alone = {name: row[name][3:] for name in ("entry_keys", "entry_labels")}
    assert label_entries(pd.Series(alone), "model") == {("vgg11", "fc1"): "vgg11, fc1"}
    with pytest.raises(ValueError, match=r"names 'modell'.*Did you mean 'model'"):
        join_by(row, "modell")


def test_mds_draws_lines(folder, tmp_path, drawn):
    both = tmp_path / "both.parquet"
    run("meta", folder / "stack.parquet", "--entry", "obj,layer", "--out", both)
    chosen = ["--where", "activation_type=unit_level", "--lines", "obj"]
    run("mds", both, *chosen, "--out", tmp_path / "map.png")
    _, options, _ = drawn[0]
    assert [label["label"] for _, label in options["line_trajectories"]] == ["cup", "hat"]
    assert set(options["cond_labels"].values()) == {"original_rgb", "conv1", "conv2"}


def test_mds_hands_on_how_pictures_and_colours_are_drawn(folder, tmp_path, drawn):
    options = ["--overlap", "repel", "--color-by", "color", "--method", "nonmetric"]
    pictures = ["--pictures", folder / "stimuli", "--pattern", PATTERN]
    out = tmp_path / "map.png"
    run("mds", folder / "stack.parquet", *ONE_ROW, *options, *pictures, "--out", out)
    _, given, _ = drawn[0]
    assert (given["overlap"], given["color_by"]) == ("repel", "color")
    assert given["method"] == "nonmetric"
    said = run("mds", folder / "stack.parquet", *ONE_ROW, "--method", "tsne", "--out", out)
    assert "4 entries, trustworthiness " in said


def test_mds_draws_a_panel_for_each_row(folder, tmp_path, monkeypatch):
    calls = []

    def keep(stack, panels, **options):
        calls.append((stack, panels, options))
        return pfa.plot_mds_panels(stack, panels, **options)

    monkeypatch.setattr(_cli_maps, "plot_mds_panels", keep)
    chosen = ["--where", "obj=cup", "--where", "activation_type=unit_level", "--where"]
    command = ["mds", folder / "stack.parquet", *chosen, "layer=conv1", "--where", "layer=conv2"]
    pictures = ["--pictures", folder / "stimuli", "--pattern", PATTERN]
    out = tmp_path / "panels.png"
    said = run(*command, "--panels", "layer", "--paths", *pictures, "--out", out)
    assert said == f"{out}: 2 panels\n"
    ((stack, panels, options),) = calls
    assert stack["layer"].tolist() == ["conv1", "conv2"]
    assert (panels, options["trajectories"]) == ("layer", True)
    assert set(options["cond_pics"]) == {(color,) for color in COLORS}
    assert out.stat().st_size > 5000
    run(*command, "--panels", "layer", "--out", out)
    assert calls[1][2]["cond_labels"] == {(color,): color for color in COLORS}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--lines", "color", "--color-by", "color"], "--lines and --color-by both give colours"),
        (["--paths"], "--paths go through --panels"),
        (["--panels", "layer", "--dims", 3], "--panels have two dimensions"),
        (["--panels", "layer", "--lines", "color"], "--panels have two dimensions and no --lines"),
    ],
)
def test_options_of_mds_that_do_not_go_together_are_named(folder, tmp_path, given, words):
    out = tmp_path / "a.png"
    assert words in complaint("mds", folder / "stack.parquet", *ONE_ROW, *given, "--out", out)


def test_panels_of_different_pictures_are_refused(folder, tmp_path):
    chosen = ["--where", "layer=conv1", "--where", "activation_type=unit_level"]
    pictures = ["--pictures", folder / "stimuli", "--pattern", PATTERN, "--panels", "obj"]
    out = ["--out", tmp_path / "a.png"]
    said = complaint("mds", folder / "stack.parquet", *chosen, *pictures, *out)
    assert "of different RDMs. Choose RDMs of the same images" in said


def picture_table(*rows):
    return pd.DataFrame([dict(zip(("path", "obj", "layer"), row, strict=True)) for row in rows])


def test_pictures_are_found_by_the_variables_of_entries_and_of_the_row(row):
    table = picture_table(
        ("a.png", "cup", "conv1"), ("b.png", "hat", "conv1"), ("c.png", "cup", "fc1")
    )
    # `obj` is no variable of the entries, but the row's object is the cup.
    assert find_pictures(table, row) == {
        ("alexnet", "conv1"): "a.png",
        ("alexnet", "fc1"): "c.png",
        ("vgg11", "conv1"): "a.png",
        ("vgg11", "fc1"): "c.png",
    }
    # Without such a column the object is unknown, and two pictures would do.
    with pytest.raises(ValueError, match=r"2 pictures of the entry .*a\.png and b\.png"):
        find_pictures(table, row.drop("obj"))
    with pytest.raises(ValueError, match="has no picture of any entry"):
        find_pictures(picture_table(("a.png", "cup", "conv9")), row)
    with pytest.raises(ValueError, match="variables obj, and the entries of this RDM have layer"):
        find_pictures(table[["path", "obj"]], row)


# --where


@pytest.fixture
def numbered(tmp_path):
    """Stack with columns of text, numbers, both, tuples and truth values."""
    rdm_df = pd.DataFrame(
        {
            "matrix": [np.array([[0.0, k], [k, 0.0]]) for k in range(4)],
            "entry_keys": [(("a",), ("b",))] * 4,
            "layer": ["conv1", "conv1", "fc1", "fc1"],
            "depth": [1, 2, 10, 20],
            "weight": [0.5, 0.25, 0.5, 1.0],
            "layer_label": [("conv1", 1), ("conv1", 2), ("fc1", 3), ("fc1", 4)],
            "perm": ["orig_data", 1, 2, "orig_data"],
            "flag": [True, False, True, False],
        }
    )
    path = tmp_path / "numbered.parquet"
    pfa.write_rdms(rdm_df, path)
    return path


@pytest.mark.parametrize(
    ("conditions", "rows"),
    [
        ([], [0, 1, 2, 3]),
        (["layer=conv1"], [0, 1]),
        (["depth=10"], [2]),
        (["depth=1e1"], [2]),
        (["weight=.5"], [0, 2]),
        (['layer_label=["conv1", 2]'], [1]),
        (["perm=orig_data"], [0, 3]),
        (["perm=1"], [1]),
        (["flag=True"], [0, 2]),
        (["layer=fc1", "flag=True"], [2]),
        # Several values of one column: any of them.
        (["depth=1", "depth=20"], [0, 3]),
        (["perm=orig_data", "layer=fc1", "perm=2"], [2, 3]),
    ],
)
def test_where_chooses_rows_by_the_kind_of_the_column(numbered, conditions, rows):
    chosen = read_where(str(numbered), conditions)
    assert [matrix[0, 1] for matrix in chosen["matrix"]] == rows


@pytest.mark.parametrize(
    ("conditions", "words"),
    [
        (["layer=conv9"], "no row has layer=conv9. There is: conv1, fc1."),
        (["layer=fc1", "depth=1"], "no row with layer=fc1 has depth=1. There is: 10, 20."),
        (["depth=conv1"], "no row has depth=conv1. There is: 1, 2, 10, 20."),
        (["layer_label=conv1"], 'has layer_label=conv1. There is: ["conv1", 1], ["conv1", 2], ['),
        (["laier=conv1"], "--where names 'laier', which is not a column of the file. Did you me"),
        (["layer"], "--where 'layer' is no condition; write --where COLUMN=VALUE."),
        (["=conv1"], "--where '=conv1' is no condition"),
        (["matrix=1"], "the column 'matrix', which holds arrays or dicts"),
        ([], "these are 4. Choose by --where; they differ in: layer (conv1, fc1); depth (1, 2,"),
    ],
)
def test_where_says_which_values_there_are(numbered, tmp_path, conditions, words):
    given = [word for condition in conditions for word in ("--where", condition)]
    assert words in complaint("mds", numbered, *given, "--out", tmp_path / "a.png")


def test_only_the_rows_that_are_meant_are_read_with_their_matrices(numbered, monkeypatch):
    calls = []

    def keep(path, **options):
        calls.append(options)
        return pfa.read_rdms(path, **options)

    monkeypatch.setattr(_cli_arguments, "read_rdms", keep)
    read_where(str(numbered), ["layer=conv1"])
    chosen = {"where": [("layer", ["conv1"])], "provenance": False}
    assert calls == [{"columns": ["layer"]}, chosen]


# layers


def test_layers_prints_the_table_of_list_layers():
    expected = pfa.list_layers(pfa.prepare_model("squeezenet1_1", "random"))
    table = pd.read_csv(io.StringIO(run("layers", "squeezenet1_1", "--csv")))
    assert table.columns.tolist() == expected.columns.tolist()
    for name in ("layer", "module", "n_units", "order"):
        assert table[name].tolist() == expected[name].tolist()

    lines = run("layers", "squeezenet1_1:trained").splitlines()
    assert len(lines) == 1 + len(expected)
    first = "conv1 1 features.0 Conv2d 1 (64, 111, 111) 788544 0 map 1 True"
    assert lines[1].split() == first.split()


# What all commands share


def commands():
    return [name for name, _ in sorted(main.commands.items())]


def test_these_are_the_commands():
    stacks = ["demo", "layers", "rdms", "meta", "rdm", "mds", "explore", "report"]
    steps = [*stacks, "pick", "anova", "decode"]
    of_studies = ["study", "features", "similarity", "consistency", "probe", "performance"]
    assert commands() == sorted([*steps, *of_studies])
    # The help lists them in the order of the work, each in a line that is not cut off.
    listed, _, _ = run("--help").partition("Example:")
    assert re.findall(r"^  ([a-z]+)  +[A-Z].*\.$", listed, re.MULTILINE) == [*steps, *of_studies]


@pytest.mark.parametrize("command", [None, *commands()])
def test_help_has_an_example_and_fits_into_a_line_each(command):
    words = [command] if command else []
    said = run(*words, "--help")
    assert run(*words, "-h") == said
    _, _, example = said.partition("Example:\n")
    assert re.match(rf"    pfa {command or 'rdms'} ", example)
    assert all(len(line) < 100 for line in said.splitlines())


@pytest.mark.parametrize("command", commands())
def test_the_options_of_an_example_exist(command):
    example = run(command, "--help").partition("Example:\n")[2].replace("\\\n", " ")
    known = {name for option in main.commands[command].params for name in option.opts}
    used = re.findall(r"(?<= )--[a-z0-9-]+", example)
    assert set(used) <= known


def test_without_a_command_the_help_is_shown():
    result = pfa_()
    assert result.exit_code == 2
    assert "From images to stacks of RDMs:" in result.output


def test_the_version_is_that_of_the_package():
    assert run("--version") == f"pfa, version {pfa.__version__}\n"


def save_text(path, text="no image"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("rdms nowhere {design} {network} --out a.p", "FOLDER must be a folder that exists, not"),
        ("rdms stimuli {design} {network} --out no/a.p", "--out is 'no/a.p', but there is no fol"),
        ("rdms stimuli {design} {network} --out a.csv", "--out must end in .parquet, .p or .pkl"),
        (
            "rdms stimuli {design} --model alexnett:random --out a.p",
            "--model names 'alexnett', which is not a known architecture. Did you mean 'alexnet'?",
        ),
        (
            "rdms stimuli {design} --model alexnet:rondom --out a.p",
            "--model names 'rondom', which is not a name of weights of alexnet",
        ),
        ("rdms stimuli {design} --model : --out a.p", "':' is not a model; write [NAME=]NETWORK"),
        (
            "rdms stimuli {design} {network} --metric cor --out a.p",
            "--metric names 'cor', which is not a metric. Did you mean 'corr'?",
        ),
        (
            "rdms stimuli {design} {network} --activation-type unit --out a.p",
            "--activation-type names 'unit', which is not a type of activation. Did you mean 'uni",
        ),
        (
            "rdms stimuli {design} --model squeezenet1_1:random --layer conv99 --out a.p",
            "--layer names 'conv99' for model 'squeezenet1_1_random'",
        ),
        (
            "rdms stimuli {design} --model squeezenet1_1:random --layer other=conv1 --out a.p",
            "--layer names 'other', which is not a model",
        ),
        (
            "rdms stimuli {pattern} --entry colour {network} --out a.p",
            "--entry names 'colour', which is not a variable of --pattern. Did you mean 'color'?",
        ),
        (
            "rdms stimuli {pattern} --entry obj {network} --out a.p",
            "FOLDER has two images with the entry key ('cup',) (obj)",
        ),
        (
            "rdms stimuli --pattern {obj}.jpg --entry obj {network} --out a.p",
            "No file in FOLDER 'stimuli' fits --pattern '{obj}.jpg'.",
        ),
        (
            "rdms stimuli {design} {network} --num-perms -1 --out a.p",
            "--num-perms must be at least 0, not -1.",
        ),
        (
            "rdms stimuli {design} {network} --device gpu --out a.p",
            "--device must be a device that this machine has",
        ),
        (
            "rdms stimuli {design} {network} --memory-budget much --out a.p",
            "--memory-budget must be an amount such as '2GB', '512MB' or a number of bytes",
        ),
        (
            "rdms stimuli {design} {network} --memory-budget much --dry-run --out a.p",
            "--memory-budget must be an amount such as '2GB', '512MB' or a number of bytes",
        ),
        (
            "rdms stimuli {design} {network} --memory-budget 0GB --out a.p",
            "--memory-budget must be more than nothing, not '0GB'.",
        ),
        (
            "rdms stimuli {design} {network} --memory-budget 1KB --out a.p",
            "--memory-budget leaves",
        ),
        (
            "rdms stimuli {design} {network} --memory-budget 1KB --dry-run --out a.p",
            "The smallest budget that works is",
        ),
        (
            "rdms stimuli {design} {network} --batch-size many --out a.p",
            "'--batch-size': 'many' is neither a number of images nor 'auto'. Try 'pfa rdms --hel",
        ),
        (
            "rdms stimuli {design} {network} --batch-size 2.5 --out a.p",
            "'--batch-size': '2.5' is neither a number of images nor 'auto'.",
        ),
        (
            "rdms stimuli {design} {network} --batch-size 0 --out a.p",
            "--batch-size must be at least 1, not 0.",
        ),
        (
            "rdms stimuli {design} {network} --num-threads many --out a.p",
            "Invalid value for '--num-threads': 'many' is not a valid integer. Try 'pfa rdms --he",
        ),
        (
            "rdms stimuli {design} {network} --num-threads 0 --out a.p",
            "--num-threads must be at least 1, not 0.",
        ),
        ("rdms stimuli {design} --out a.p", "Missing option '--model'. Try 'pfa rdms --help'."),
        ("rdms stimuli --layr conv1", "No such option '--layr'. Did you mean '--layer'? Try"),
        (
            "rdms stimuli {design} {network} --transform all --out a.p",
            "Invalid value for '--transform': 'all' is not one of 'weights', 'whole'. Try",
        ),
        ("meta nothing.parquet --entry obj --out a.p", "STACK is 'nothing.parquet', but there is"),
        ("meta notes.md --entry obj --out a.p", "STACK must end in .parquet, .p or .pkl"),
        ("meta broken.parquet --entry obj --out a.p", "'broken.parquet'"),
        (
            "meta stack.parquet --entry objekt --out a.p",
            "--entry names 'objekt', which is not a column",
        ),
        ("meta stack.parquet --entry obj --group obj --out a.p", "in both --entry and --group"),
        ("meta stack.parquet --entry obj --metric cor --out a.p", "--metric names 'cor'"),
        ("mds nothing.p --out a.png", "STACK is 'nothing.p', but there is no such file."),
        ("mds layers.parquet {chosen} --out a.xyz", "--out"),
        ("mds layers.parquet {chosen} --out no/a.png", "--out is 'no/a.png', but there is no fol"),
        ("mds layers.parquet {chosen} --lines depth --out a.png", "--lines names 'depth', which"),
        (
            "mds layers.parquet {chosen} --pictures stimuli --out a.png",
            "--pictures and --pattern go together: a folder, and what is in it. Try 'pfa mds",
        ),
        (
            "mds layers.parquet {chosen} --pictures stimuli {pattern} --out a.png",
            "--pattern has the variables obj, color, and the entries of this RDM have layer.",
        ),
        (
            "rdm stack.parquet --where layer=conv1 --pictures stimuli {pattern} --out a.png",
            "for the entry ('crimson',) of different RDMs. Choose RDMs of the same images",
        ),
        ("rdm layers.parquet --groups depth --out a.png", "--groups must be the name of a label"),
        (
            "rdm layers.parquet --pictures stimuli --out a.png",
            "--pictures and --pattern go together: a folder, and what is in it. Try 'pfa rdm",
        ),
        ("layers alexnett", "MODEL names 'alexnett', which is not a known architecture. Did you"),
        ("layers alexnet:rondom", "MODEL names 'rondom', which is not a name of weights of alex"),
        ("layer alexnet", "No such command 'layer'"),
        ("demo --out stimuli", "--out is 'stimuli', which holds something else ('cup')"),
        ("demo --seed -1", "Invalid value for '--seed'"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(folder, monkeypatch, words, expected):
    monkeypatch.chdir(folder)
    save_text(folder / "broken.parquet")
    save_text(folder / "notes.txt")
    named = {
        "{design}": DESIGN,
        "{pattern}": DESIGN[:2],
        "{network}": NETWORK,
        "{chosen}": ["--where", "obj=cup", "--where", "activation_type=unit_level"],
    }
    given = [part for word in words.split() for part in named.get(word, [word])]
    assert expected in complaint(*given)
    assert not (folder / "a.p").exists()


def test_all_unreadable_images_are_named_in_the_one_line(folder, tmp_path):
    for name in ("cup_red.png", "cup_blue.png"):
        save_text(tmp_path / "cup" / name)
    Image.new("RGB", (64, 64)).save(tmp_path / "cup" / "cup_green.png")
    said = complaint("rdms", tmp_path, *DESIGN, *NETWORK, "--out", tmp_path / "a.parquet")
    assert "cup_red.png" in said
    assert "cup_blue.png" in said
    assert "cup_green.png" not in said


def test_trained_weights_that_cannot_be_fetched_are_named(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def unreachable(*_args, **_kwargs):
        raise OSError("no network")

    monkeypatch.setattr("torch.hub.download_url_to_file", unreachable)
    model = ["--model", "squeezenet1_1"]
    said = complaint("rdms", folder / "stimuli", *DESIGN, *model, "--out", tmp_path / "a.p")
    assert "Get the file https://download.pytorch.org/models/squeezenet1_1-" in said


def test_debug_shows_the_traceback_too():
    result = pfa_("layers", "alexnett", "--debug")
    assert result.exit_code == 2
    assert "Traceback (most recent call last):" in result.stderr
    assert result.stderr.splitlines()[-1].startswith("Error: MODEL names 'alexnett'")


def test_an_error_that_is_not_the_users_is_not_hidden(monkeypatch):
    def broken(_model):
        raise RuntimeError("this should not happen")

    monkeypatch.setattr(cli, "list_layers", broken)
    result = pfa_("layers", "squeezenet1_1")
    assert result.exit_code == 1
    assert isinstance(result.exception, RuntimeError)


def test_a_reader_that_stops_reading_is_no_error(monkeypatch):
    def closed(_model):
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(cli, "list_layers", closed)
    result = pfa_("layers", "squeezenet1_1")
    assert "Error" not in result.output


@pytest.mark.filterwarnings("default")
def test_a_warning_of_the_library_is_a_line_without_its_place(monkeypatch):
    def warn(_model):
        warnings.warn("constant patterns have no dissimilarity", stacklevel=2)
        return pd.DataFrame({"layer": ["conv1"]})

    monkeypatch.setattr(cli, "list_layers", warn)
    result = pfa_("layers", "squeezenet1_1")
    assert result.stderr == "Warning: constant patterns have no dissimilarity\n"
    assert result.stdout.split() == ["layer", "conv1"]


def test_log_lines_are_shown_on_request_and_nothing_stays_behind(folder, tmp_path):
    library = logging.getLogger("pytorch_feature_analysis")
    before = (library.level, library.handlers[:], warnings.showwarning, warnings.filters[:])
    command = ["rdms", folder / "stimuli", *DESIGN, *NETWORK, "--out", tmp_path / "a.parquet"]
    assert pfa_(*command).stderr == ""
    assert "squeezenet1_1 with random weights\n" in pfa_(*command, "-v").stderr
    after = (library.level, library.handlers[:], warnings.showwarning, warnings.filters[:])
    assert after == before


@pytest.mark.parametrize(
    ("terminal", "words", "shown"), [(True, [], True), (True, ["-q"], False), (False, [], False)]
)
def test_progress_bars_are_for_terminals_and_can_be_turned_off(
    folder, tmp_path, monkeypatch, terminal, words, shown
):
    asked = []

    def keep(*_args, progress, **_options):
        asked.append(progress)
        return pd.DataFrame()

    monkeypatch.setattr(cli, "get_meta_rdms", keep)
    monkeypatch.setattr(sys, "stderr", type("Terminal", (), {"isatty": lambda _: terminal})())
    show = cli.show_bars("-q" in words)
    assert show is shown
    monkeypatch.undo()
    monkeypatch.setattr(cli, "get_meta_rdms", keep)
    monkeypatch.setattr(cli, "show_bars", lambda quiet: ("asked", quiet))
    run("meta", folder / "stack.parquet", "--entry", "obj", *words, "--out", tmp_path / "a.p")
    assert asked == [("asked", "-q" in words)]


def test_the_module_is_the_command(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "pytorch_feature_analysis", "mds", "nothing.p", "--out", "a.png"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert re.fullmatch(
        r"Error: STACK is 'nothing\.p', but there is no such file.*\n", done.stderr
    )
