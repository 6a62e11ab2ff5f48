"""`pfa anova` and `pfa decode`, beside the functions that they stand for."""

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from made_decoding import noise_images

import pytorch_feature_analysis as pfa
from pytorch_feature_analysis import _cli_units
from pytorch_feature_analysis.cli import main

PATTERN = "{obj}_{color}_{size}_{number}.png"
LAYERS = ["conv1", "fc3"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """3 objects x 4 colors x 2 sizes, two images of each."""
    folder = tmp_path_factory.mktemp("images")
    for number, image in enumerate(noise_images(groups=("big", "small"), n_each=2)):
        name = f"{image['obj']}_{image['color']}_{image['size']}_{number % 2}.png"
        image["path"].resize((80, 80)).save(folder / name)
    return folder


@pytest.fixture(scope="module")
def models():
    return pfa.prepare_models({"alexnet_random": ("alexnet", "random")})


def run(command, folder, *words, code=0, pattern=PATTERN):
    layers = [word for layer in LAYERS for word in ("--layer", layer)]
    words = [folder, "--pattern", pattern, "--model", "alexnet:random", *layers, *words]
    result = CliRunner().invoke(main, [command, *map(str, words)])
    assert result.exit_code == code, result.output
    return result.output


def test_anova_writes_what_the_function_gives(folder, models, tmp_path):
    said = run(
        *("anova", folder, "--factor", "obj,color", "--sample", "number", "--group", "size"),
        *("--alpha", 0.1, "--out", tmp_path / "etas.csv", "--maps", tmp_path / "units.npz"),
    )
    table = pd.read_csv(tmp_path / "etas.csv")
    assert table["size"].tolist() == ["big", "big", "small", "small"]
    images = pfa.read_image_folder(folder, PATTERN)
    big, _ = pfa.package_image_sets(images, ["obj", "color", "number"], ["size"])
    expected, arrays = pfa.compute_etas(
        big, ("alexnet_random", models["alexnet_random"]), LAYERS, maps=True, alpha=0.1
    )
    for column in expected.columns.drop("layer_label"):
        found, wanted = table[column][:2].tolist(), expected[column].tolist()
        assert found == (wanted if isinstance(wanted[0], str) else pytest.approx(wanted)), column
    with np.load(tmp_path / "units.npz") as units:
        assert len(units) == 2 * sum(len(found) for found in arrays.values())
        for (layer, _), found in arrays.items():
            for name, values in found.items():
                kept = units[f"big/alexnet_random/{layer}/{name}"]
                np.testing.assert_array_equal(kept, values)
    assert said.startswith(f"{tmp_path / 'etas.csv'}: 4 rows of 1 model\n")
    named = [line.split(":")[0] for line in said.splitlines()[1:]]
    effects = ("obj", "color", "interaction")
    assert named == [f"  highest eta squared of {effect}" for effect in effects]
    largest = table.groupby("layer")["color_eta2_mean"].mean()
    assert (
        f"highest eta squared of color: {largest.max():.3f} at {largest.idxmax()} of"
        " alexnet_random\n" in said
    )


def test_layers_of_one_network_leave_those_of_the_others_alone(folder, tmp_path):
    words = ["--factor", "obj,color", "--sample", "number,size", "--out", tmp_path / "etas.csv"]
    words += ["--model", "twin=alexnet:random", "--layer", "twin=fc1", "--seed", 3]
    run("anova", folder, *words)
    table = pd.read_csv(tmp_path / "etas.csv")
    assert table.groupby("model")["layer"].agg(list).to_dict() == {
        "alexnet_random": LAYERS,
        "twin": [*LAYERS, "fc1"],
    }


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_decode_writes_what_the_function_gives(folder, models, tmp_path, suffix):
    out = tmp_path / f"svm{suffix}"
    options = {"decoding_type": "both", "cross_by": "leave_one_out", "num_perms": 3}
    options |= {"activation_type": "feature_means", "analysis_name": "mine"}
    said = run(
        *("decode", folder, "--var1", "obj", "--var2", "color", "--group", "size"),
        *("--decoding-type", "both", "--cross-by", "leave_one_out", "--num-perms", 3),
        *("--activation-type", "feature_means", "--name", "mine", "--out", out),
    )
    images = pfa.read_image_folder(folder, PATTERN)
    expected = pfa.run_2way_svm_analysis(
        images,
        "obj",
        "color",
        ["size"],
        models,
        LAYERS,
        save_path=tmp_path / f"own{suffix}",
        **options,
    )
    assert out.read_bytes() == (tmp_path / f"own{suffix}").read_bytes() or suffix == ".parquet"
    if suffix == ".parquet":
        found = pd.read_parquet(out)
        assert found["acc"].tolist() == expected["acc"].tolist()
        assert found["p"].tolist() == expected["p"].tolist()
    assert said.startswith(f"{out}: {len(expected)} accuracies of 1 model\n")
    within = expected[(expected["decoded_variable"] == "obj")]
    within = within[within["decoding_type"] == "within"].groupby("layer")["acc"].mean()
    assert f"highest accuracy of obj (within): {within.max():.3f} at {within.idxmax()} of" in said


def test_a_second_analysis_is_put_behind_the_first(folder, tmp_path):
    out = tmp_path / "svm.csv"
    words = ["--var1", "obj", "--var2", "color", "--out", out]
    run("decode", folder, *words)
    first = pd.read_csv(out)
    run("decode", folder, *words, "--name", "second")
    both = pd.read_csv(out)
    assert both["analysis_name"].tolist() == ["svm"] * len(first) + ["second"] * len(first)
    run("decode", folder, *words)
    assert pd.read_csv(out).equals(both)


DECODE = ["--var1", "obj", "--var2", "color", "--out", "svm.csv"]
ANOVA = ["--factor", "obj,color", "--sample", "number,size", "--out", "etas.csv"]


@pytest.mark.parametrize(
    ("command", "words", "match"),
    [
        ("decode", [*DECODE, "--var1", "shape"], "--var1 names 'shape'"),
        ("decode", [*DECODE, "--var2", "obj"], "--var1 and --var2 must name two variables"),
        ("decode", [*DECODE, "--group", "tint"], "--group names 'tint'"),
        ("decode", [*DECODE, "--layer", "conv9"], "--layer names 'conv9'"),
        ("decode", [*DECODE, "--out", "svm.txt"], "--out must end in .csv or .parquet"),
        ("decode", [*DECODE, "--out", "there.csv"], "--out is 'there.csv', which holds another"),
        ("decode", [*DECODE, "--group", "color"], "--var2 and --group both name 'color'"),
        ("decode", [*DECODE, "--num-perms", -1], "--num-perms must be at least 0"),
        ("anova", [*ANOVA, "--factor", "shape"], "--factor names 'shape'"),
        (
            "anova",
            ["--factor", "obj", "--sample", "color,number,size", *ANOVA[4:]],
            "--factor must name two or more",
        ),
        ("anova", ANOVA[:2] + ANOVA[4:], "tells them apart to --factor or --sample"),
        ("anova", [*ANOVA, "--out", "etas.txt"], "--out must end in .csv"),
        ("anova", [*ANOVA, "--out", "there.csv"], "there.csv exists; choose another name"),
        ("anova", [*ANOVA, "--maps", "maps.csv"], "--maps must end in .npz"),
        ("anova", [*ANOVA, "--alpha", 2], "--alpha must be between 0 and 1"),
        ("anova", [*ANOVA, "--layer", "conv9"], "--layer names 'conv9'"),
        ("anova", [*ANOVA, "--layer", "other=conv1"], "--layer names 'other', which is not a mod"),
        ("anova", [*ANOVA, "--memory-budget", 100], "--memory-budget"),
    ],
)
def test_bad_input_ends_in_one_line_and_loses_nothing(
    folder, tmp_path, monkeypatch, command, words, match
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.csv").write_text("a\n1\n")
    said = run(command, folder, *words, code=2)
    assert match in said
    assert len(said.strip().splitlines()) == 1
    assert (tmp_path / "there.csv").read_text() == "a\n1\n"
    assert [file.name for file in tmp_path.iterdir()] == ["there.csv"]


def test_missing_combinations_and_lonely_images_are_named(folder, tmp_path):
    part = tmp_path / "part"
    part.mkdir()
    for file in folder.iterdir():
        if not file.name.startswith("obj2_color1") and "big_0" in file.name:
            (part / file.name).write_bytes(file.read_bytes())
    words = ["--factor", "obj,color", "--out", tmp_path / "etas.csv"]
    assert "('obj2', 'color1')" in run("anova", part, *words, code=2)
    for file in part.glob("obj2_*"):
        if "color0" not in file.name:
            file.unlink()
    words = ["--var1", "obj", "--var2", "color", "--out", tmp_path / "svm.csv"]
    assert "FOLDER has 1 image with 'obj' = 'obj2'" in run("decode", part, *words, code=2)
    assert [file.name for file in tmp_path.iterdir()] == ["part"]


@pytest.mark.parametrize(
    ("fault", "match"),
    [
        ("gone", "has none for ('obj2', 'color1')"),
        ("broken", "FOLDER names 1 image that cannot be read"),
        ("layer", "--layer names 'conv9' for model 'twin', which has no such layer."),
    ],
)
def test_a_fault_of_the_last_analysis_is_found_before_the_first(
    folder, tmp_path, monkeypatch, fault, match
):
    monkeypatch.setattr(_cli_units, "compute_etas", lambda *_, **__: pytest.fail("too late"))
    part = tmp_path / "part"
    part.mkdir()
    for file in folder.iterdir():
        (part / file.name).write_bytes(file.read_bytes())
    words = ["--factor", "obj,color", "--sample", "number", "--group", "size"]
    if fault == "gone":
        for file in part.glob("obj2_color1_small_*"):
            file.unlink()
    elif fault == "broken":
        (part / "obj2_color1_small_0.png").write_text("no picture")
    else:
        words += ["--model", "twin=alexnet:random", "--layer", "twin=conv9"]
    assert match in run("anova", part, *words, "--out", tmp_path / "etas.csv", code=2)
