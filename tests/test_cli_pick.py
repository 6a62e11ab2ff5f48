"""`pfa pick`, beside the function that it stands for."""

import io

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from PIL import Image

import pytorch_feature_analysis as pfa
from pytorch_feature_analysis.cli import main

COLORS = ["red", "green", "blue", "black", "white", "orange"]
KINDS = ["cup", "pen"]


@pytest.fixture
def folder(tmp_path):
    keys = [(kind, color) for kind in KINDS for color in COLORS]
    for kind, color in keys:
        file = tmp_path / "stimuli" / kind / f"{color}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (32, 24), color).save(file)
    rng = np.random.default_rng(0)
    rows = []
    for layer in ("conv1", "fc1"):
        rdm = rng.random((12, 12))
        rdm += rdm.T
        np.fill_diagonal(rdm, 0)
        labels = tuple({"kind": kind, "color": color} for kind, color in keys)
        rows.append(
            {"layer": layer, "matrix": rdm, "entry_keys": tuple(keys), "entry_labels": labels}
        )
    pfa.write_rdms(pd.DataFrame(rows), tmp_path / "stack.parquet")
    return tmp_path


def run(*words, code=0):
    result = CliRunner().invoke(main, ["pick", *map(str, words)])
    assert result.exit_code == code, result.output
    return result.output


def test_it_prints_or_writes_what_the_function_gives(folder):
    stack = pfa.read_rdms(folder / "stack.parquet")
    chosen = pfa.select_stimuli(stack.iloc[[1]], 4).drop(columns="entry_key")
    command = [folder / "stack.parquet", "-n", 4, "--where", "layer=fc1"]
    pd.testing.assert_frame_equal(pd.read_csv(io.StringIO(run(*command))), chosen)
    said = run(*command, "--out", folder / "chosen.csv")
    assert "chosen.csv: 4 of 12, mean" in said
    pd.testing.assert_frame_equal(pd.read_csv(folder / "chosen.csv"), chosen)


def test_options_are_those_of_the_function(folder):
    stack = pfa.read_rdms(folder / "stack.parquet")
    chosen = pfa.select_stimuli(
        stack,
        4,
        combine="min",
        scale="rank",
        direction="min",
        must_include=[("cup", "red")],
        exclude=[("pen", "blue")],
        groups=("kind", 2),
        effort=500,
        random_state=1,
    ).drop(columns="entry_key")
    command = [folder / "stack.parquet", "-n", 4, "--combine", "min", "--scale", "rank"]
    command += ["--direction", "min", "--include", '["cup", "red"]', "--per", "kind=2"]
    command += ["--exclude", '["pen", "blue"]', "--effort", 500, "--seed", 1]
    pd.testing.assert_frame_equal(pd.read_csv(io.StringIO(run(*command))), chosen)


@pytest.mark.parametrize("suffix", [".npy", ".csv", ".txt"])
def test_a_matrix_that_cannot_be_read_is_named(tmp_path, suffix):
    path = tmp_path / f"matrix{suffix}"
    assert f"STACK_OR_MATRIX is '{path}', but there is no such file." in run(path, "-n", 2, code=2)
    path.write_text("0,a\nb,0\n")
    said = run(path, "-n", 2, code=2)
    assert f"'{path}', which cannot be read as a matrix (" in said
    assert "a stack is .parquet or .p." in said


@pytest.mark.parametrize("suffix", [".npy", ".csv", ".txt"])
def test_a_plain_matrix_will_do(folder, suffix):
    rdm = pfa.read_rdms(folder / "stack.parquet")["matrix"][0]
    path = folder / f"matrix{suffix}"
    if suffix == ".npy":
        np.save(path, rdm)
    else:
        np.savetxt(path, rdm, delimiter="," if suffix == ".csv" else " ")
    table = pd.read_csv(io.StringIO(run(path, "-n", 3, "--include", 7)))
    expected = pfa.get_extreme_dissims_total(rdm, 3, must_include=[7])[1]
    assert table["index"].tolist() == table["entry"].tolist() == expected
    assert "no columns for --where" in run(path, "-n", 3, "--where", "layer=fc1", code=2)


def test_the_chosen_pictures_are_drawn_on_a_sheet(folder):
    command = [folder / "stack.parquet", "-n", 4, "--montage", folder / "sheet.png"]
    command += ["--pictures", folder / "stimuli", "--pattern", "{kind}/{color}.png"]
    command += ["--out", folder / "chosen.csv"]
    run(*command)
    with Image.open(folder / "sheet.png") as sheet:
        pixels = {tuple(pixel[:3]) for pixel in np.asarray(sheet).reshape(-1, 4).tolist()}
    for color in pd.read_csv(folder / "chosen.csv")["color"]:
        assert tuple(Image.new("RGB", (1, 1), color).getpixel((0, 0))) in pixels
    assert "exists; choose another name" in run(*command, code=2)
    run(*command, "--overwrite")
    assert not (folder / "chosen.superseded.csv").exists()
    run(*command, "-n", 3, "--overwrite")
    assert len(pd.read_csv(folder / "chosen.superseded.csv")) == 4


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["-n", 13], "--num-items must be from 1 to 12"),
        (["-n", 3, "--include", "cup"], "--include names"),
        (["-n", 3, "--per", "kind"], "is not VARIABLE=COUNT"),
        (["-n", 4, "--per", "size=2"], "--per names 'size'"),
        (["-n", 3, "--effort", "much"], "--effort names 'much'"),
        (["-n", 3, "--montage", "a.png"], "--pictures, --pattern and --montage go together"),
        (["-n", 3, "--where", "layer=conv9"], "conv9"),
        (["-n", 3, "--out", "/proc/none/chosen.csv"], "--out"),
        (
            ["-n", 3, "--montage", "/proc/none/a.png", "--pictures", ".", "--pattern", "{kind}"],
            "--montage",
        ),
    ],
)
def test_bad_input_ends_in_one_line(folder, words, match):
    said = run(folder / "stack.parquet", *words, code=2)
    assert match in said
    assert len(said.strip().splitlines()) == 1
