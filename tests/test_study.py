"""A study from one file: what it makes, what it does not make again, and what it refuses."""

import functools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from PIL import Image

import pytorch_feature_analysis as pfa
from pytorch_feature_analysis.cli import main

NETWORKS = """
import torch
from torch import nn

torch.set_num_threads(1)


def transform(image):
    return torch.as_tensor(list(image.convert("L").tobytes())).reshape(1, 8, 8) / 255


def make(seed):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.ReLU(), nn.Linear(12, 6)), transform



def net3():
    return make(3)
"""
STUDY = """
out = "results"
model_table = "models.csv"

[models]
net0 = {file = "networks.py", function = "make", arguments = {seed = 0}}
net1 = {file = "networks.py", function = "make", arguments = {seed = 1}}
net2 = {file = "networks.py", function = "make", arguments = {seed = 2}}
net3 = {file = "networks.py", function = "net3"}
net4 = {file = "networks.py", function = "make", arguments = {seed = 4}}
net5 = {file = "networks.py", function = "make", arguments = {seed = 5}}

[datasets.stripes]
train = "stripes/train"
test = "stripes/test"
[datasets.blobs]
train = "blobs/train"
test = {path = "blobs/test", pattern = "{target}/{name}.png"}

[features]
module = "fc1"

[similarity]
measures = [{name = "linear_cka", debiased = true}, "rsa"]
split = "test"

[consistency]
by = ["objective"]
num_boot = 20

[probes]
seeds = [0, 1]

[performance]
domains = {stripes = "lines", blobs = "spots"}
"""


def draw(kind, target, rng):
    across, down = np.meshgrid(np.arange(8), np.arange(8))
    if kind == "stripes":
        field = (across if target == "upright" else down) % 4 < 2
    else:
        corner = 2 if target == "upper" else 5
        field = np.hypot(across - rng.integers(2, 6), down - corner) < 2.2
    pixels = 160 * field + rng.uniform(0, 80, (8, 8))
    return Image.fromarray(pixels.astype(np.uint8))


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    kinds = {"stripes": ("upright", "level"), "blobs": ("upper", "lower")}
    for kind, targets in kinds.items():
        for split, count in (("train", 12), ("test", 6)):
            for target in targets:
                place = tmp_path / kind / split / target
                place.mkdir(parents=True)
                for k in range(count):
                    draw(kind, target, rng).save(place / f"{target}{k:02d}.png")
    (tmp_path / "networks.py").write_text(NETWORKS)
    (tmp_path / "models.csv").write_text(
        "model,objective\nnet0,one\nnet1,one\nnet2,one\nnet3,two\nnet4,two\nnet5,two\n"
    )
    (tmp_path / "study.toml").write_text(STUDY)
    return tmp_path


def run(folder, *steps):
    return pfa.run_study(folder / "study.toml", list(steps) or None, progress=False)


def results(folder):
    """What a study has made, by file."""
    place = folder / "results"
    tables = {file.name: pd.read_csv(file) for file in place.glob("*.csv")}
    stacks = {file.name: pfa.read_rdms(file) for file in place.glob("*.parquet")}
    return {**tables, **stacks}


def test_all_steps_are_made_once(folder):
    plan = pfa.plan_study(folder / "study.toml")
    assert plan["state"].tolist() == ["0 of 24 files", *["to do"] * 4]
    done = run(folder)
    steps = ["features", "similarity", "consistency", "probes", "performance"]
    assert done["step"].tolist() == steps
    assert done["made"].all()
    found = results(folder)
    assert len(found) == 6
    assert pfa.plan_study(folder / "study.toml")["state"].tolist() == [
        "24 of 24 files",
        *["done"] * 4,
    ]
    assert not run(folder)["made"].any()
    for name, frame in results(folder).items():
        pd.testing.assert_frame_equal(frame, found[name])
    assert not list((folder / "results").rglob("*superseded*"))


def test_its_results_are_those_of_the_calls(folder):
    run(folder)
    found = results(folder)
    df = pfa.read_features(folder / "results" / "features")
    assert len(df) == 24
    tests = df[df["split"] == "test"]
    stack = pfa.get_similarity_rdms(
        tests,
        [("linear_cka", {"debiased": True}), "rsa"],
        ["model"],
        ["dataset"],
        progress=False,
    )
    for one, other in zip(found["similarity.parquet"]["matrix"], stack["matrix"], strict=True):
        np.testing.assert_array_equal(one, other)
    assert found["similarity.parquet"]["dataset"].tolist() == stack["dataset"].tolist()
    table = pfa.read_model_table(folder / "models.csv")
    consistency = pfa.get_consistency(stack, table, by=["objective"], num_boot=20)
    pd.testing.assert_series_equal(found["consistency.csv"]["r"], consistency["r"])
    rdms = pfa.get_consistency_rdms(stack, table, ["objective"])
    for one, other in zip(
        found["consistency_rdms.parquet"]["matrix"], rdms["matrix"], strict=True
    ):
        np.testing.assert_array_equal(one, other)
    probes = pfa.probe_models(df, seeds=[0, 1], progress=False)
    pd.testing.assert_series_equal(found["probes.csv"]["accuracy"], probes["accuracy"])
    assert probes["accuracy"].min() > 0.5
    assert set(found["performance.csv"]["domain"]) == {"lines", "spots"}


def test_what_changed_is_made_anew_and_the_old_is_kept(folder):
    run(folder)
    before = results(folder)
    file = folder / "study.toml"
    file.write_text(STUDY.replace('"rsa"', '"distance_correlation"'))
    plan = pfa.plan_study(file).set_index("step")["state"]
    assert plan.tolist() == ["24 of 24 files", "to do", "done", "done", "done"]
    done = run(folder).set_index("step")["made"]
    # What is made of the similarity follows it; the probes do not.
    assert done.tolist() == [False, True, True, False, True]
    kept = pfa.read_rdms(folder / "results" / "similarity.superseded.parquet")
    pd.testing.assert_frame_equal(kept, before["similarity.parquet"])
    assert "distance_correlation" in set(results(folder)["similarity.parquet"]["dissim_metric"])


def test_other_models_or_datasets_or_stimuli_are_another_study(folder):
    file = folder / "study.toml"
    pfa.save_subset(folder / "some.json", [0, 2, 3, 7, 9])
    text = STUDY[: STUDY.index("[consistency]")]
    text = text.replace('split = "test"', 'split = "test"\nsubsets = {stripes = "some.json"}')
    file.write_text(text)
    run(folder)
    # The features of the model that goes stay in the store.
    net5 = text.index("net5"), text.index("[datasets.stripes]")
    without = text[: net5[0]] + "\n" + text[net5[1] :]
    file.write_text(without)
    assert pfa.plan_study(file)["state"].tolist() == ["20 of 20 files", "to do"]
    run(folder)
    assert ("net5",) not in results(folder)["similarity.parquet"]["entry_keys"][0]
    file.write_text(text)
    run(folder)
    pfa.save_subset(folder / "some.json", [0, 2, 3, 7, 8])
    assert pfa.plan_study(file)["state"].tolist() == ["24 of 24 files", "to do"]
    start, end = text.index("[datasets.blobs]"), text.index("[features]")
    file.write_text(text[:start] + text[end:])
    run(folder)
    assert results(folder)["similarity.parquet"]["dataset"].unique().tolist() == ["stripes"]


def test_splits_that_the_study_no_longer_has_are_not_compared(folder):
    file = folder / "study.toml"
    text = STUDY[: STUDY.index("[consistency]")].replace('split = "test"\n', "")
    file.write_text(text)
    run(folder)
    assert set(results(folder)["similarity.parquet"]["split"]) == {"train", "test"}
    file.write_text(
        text.replace('train = "stripes/train"\n', "").replace('train = "blobs/train"\n', "")
    )
    run(folder)
    assert "split" not in results(folder)["similarity.parquet"]


def test_options_of_consistency_serve_the_table_and_the_rdms(folder, monkeypatch):
    calls = []

    @functools.wraps(pfa.get_consistency_rdms)
    def remember(stack, table, **options):
        calls.append(options)
        return pfa.get_consistency_rdms(stack, table, **options)

    monkeypatch.setattr("pytorch_feature_analysis.study.get_consistency_rdms", remember)
    (folder / "study.toml").write_text(
        STUDY.replace('by = ["objective"]', 'by = ["objective"]\nnan_policy = "omit"')
    )
    run(folder, "features")
    run(folder, "similarity")
    run(folder, "consistency")
    assert calls == [{"by": ["objective"], "nan_policy": "omit"}]


def test_models_may_be_called_by_numbers_or_as_what_is_missing(folder):
    names = {f"net{k}": name for k, name in enumerate(["01", "2", "NA", "3.0", "None", "06"])}
    text = STUDY.replace('model_table = "models.csv"', "").replace('by = ["objective"]\n', "")
    for old, new in names.items():
        text = text.replace(f"{old} = ", f'"{new}" = ')
    (folder / "study.toml").write_text(text)
    run(folder)
    assert (results(folder)["performance.csv"]["n_pairs"] == 15).all()


def test_steps_may_be_run_one_by_one(folder):
    with pytest.raises(ValueError, match="'similarity' needs the results of 'features'"):
        run(folder, "similarity")
    assert run(folder, "features")["made"].tolist() == [True]
    assert run(folder, "similarity")["step"].tolist() == ["similarity"]
    with pytest.raises(ValueError, match=r"`steps` names 'simularity'.*'similarity'"):
        run(folder, "simularity")


def test_subsets_are_those_of_their_files(folder):
    pfa.save_subset(folder / "some.json", [0, 2, 3, 7, 9], n_stimuli=12)
    (folder / "study.toml").write_text(
        STUDY.replace('split = "test"\n', 'split = "test"\nsubsets = {stripes = "some.json"}\n')
    )
    run(folder, "features")
    run(folder, "similarity")
    stack = results(folder)["similarity.parquet"].set_index("dataset")
    assert len(stack["entry_keys_sub"]["stripes"].iloc[0]) == 5
    assert len(stack["entry_keys_sub"]["blobs"].iloc[0]) == 12


def test_models_may_be_those_of_the_table(folder):
    (folder / "models.csv").write_text(
        "model,source,model_name,weights\na,torchvision,squeezenet1_1,random\n"
        "b,torchvision,squeezenet1_1,random\n"
    )
    start, end = STUDY.index("[models]"), STUDY.index("[datasets.stripes]")
    text = STUDY[:start] + STUDY[end : STUDY.index("[datasets.blobs]")]
    text += '[features]\nmodule = "avgpool1"\n[similarity]\nmeasures = ["rsa"]\nsplit = "test"\n'
    (folder / "study.toml").write_text(text)
    run(folder)
    assert results(folder)["similarity.parquet"]["entry_keys"][0] == (("a",), ("b",))


def test_a_study_that_is_killed_goes_on_to_the_same_frames(folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("whole")
    for name in ("stripes", "blobs", "networks.py", "models.csv", "study.toml"):
        (other / name).symlink_to(folder / name)
    run(other)
    command = [sys.executable, "-m", "pytorch_feature_analysis", "study", "study.toml", "-q"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, cwd=folder, env=environment)
    store = folder / "results" / "features"
    deadline = time.monotonic() + 120
    while (
        len(list(store.glob("*/*/*.npz"))) < 3
        and process.poll() is None
        and time.monotonic() < deadline
    ):
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    n_before = len(list(store.glob("*/*/*.npz")))
    assert n_before >= 3
    run(folder)
    # What was half-written when it was killed has a hidden name.
    assert len(list(store.glob("*/*/[!.]*.npz"))) == 24
    assert pfa.plan_study(folder / "study.toml")["state"][0] == "24 of 24 files"
    made = results(folder)
    for name, frame in results(other).items():
        pd.testing.assert_frame_equal(made[name], frame, check_exact=False, atol=1e-6)


def test_the_commands_say_what_they_do(folder):
    file = str(folder / "study.toml")

    def command(*words):
        result = CliRunner().invoke(main, list(words))
        return result.exit_code, result.output

    code, said = command("study", file, "--dry-run")
    assert code == 0
    assert "0 of 24 files" in said
    assert not (folder / "results").exists()
    code, said = command("similarity", file)
    assert code == 2
    assert "needs the results of 'features'" in said
    for name, written in (
        ("features", "features"),
        ("similarity", "similarity.parquet"),
        ("consistency", "consistency.csv"),
        ("probe", "probes.csv"),
        ("performance", "performance.csv"),
    ):
        code, said = command(name, file, "-q")
        assert (code, "made" in said) == (0, True), said
        assert (folder / "results" / written).exists()
    code, said = command("study", file, "-q")
    assert code == 0
    assert said.count("was there") == 5
    (folder / "study.toml").write_text(STUDY.replace("[probes]", "[probe]"))
    code, said = command("study", file, "--dry-run")
    assert code == 2
    assert "'probe'" in said
    assert "Did you mean 'probes'?" in said


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ("num_boot = 20", "numboot = 20", "'numboot'.*Did you mean 'num_boot'"),
        ('module = "fc1"', 'pooling = "mean"', "needs the key 'module'"),
        ("[features]", "[feature]", r"'feature'.*Did you mean 'features'"),
        ('function = "net3"', 'function = "net7"', "'net7'.*'?net3"),
        ('function = "net3"', 'name = "net3"', "'name'"),
        ('file = "networks.py", function = "net3"', 'file = "n.py"', "lacks the key 'function'"),
        ("arguments = {seed = 2}", "arguments = 2", "'arguments' of model 'net2' must be"),
        ("net3 = {", "net9 = {", "'net9', which is not a model of its table"),
        ('test = "stripes/test"', "test = 3", "must be a folder or have a 'path'"),
        ('pattern = "{target}', 'patern = "{target}', "'patern'.*Did you mean 'pattern'"),
        ('split = "test"', 'split = "val"', "`splits` names 'val'"),
        ('{name = "linear_cka", debiased = true}', "{debiased = true}", "has no 'name'"),
        ("out = ", "out == ", "cannot be read"),
        ("[similarity]", "[similarity_]", "'similarity_'"),
    ],
)
def test_a_bad_file_is_refused(folder, old, new, match):
    assert old in STUDY
    (folder / "study.toml").write_text(STUDY.replace(old, new))
    with pytest.raises(ValueError, match=match):
        run(folder)


def test_json_will_do(folder):
    content = {
        "models": {"a": "squeezenet1_1:random", "b": "squeezenet1_1:random"},
        "datasets": {"stripes": "stripes/test"},
        "features": {"module": "avgpool1"},
        "similarity": {"measures": ["rsa"]},
    }
    (folder / "study.json").write_text(json.dumps(content))
    done = pfa.run_study(folder / "study.json", progress=False)
    assert done["made"].all()
    assert (folder / "study_results" / "similarity.parquet").exists()
    with pytest.raises(ValueError, match=r"must be a \.toml or \.json file"):
        pfa.run_study(folder / "models.csv")
    with pytest.raises(FileNotFoundError, match=r"`path` is '.*none\.toml', but there is no such"):
        pfa.run_study(folder / "none.toml")
    del content["similarity"]
    content["consistency"] = {}
    (folder / "study.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"\[consistency\] needs \[similarity\]"):
        pfa.plan_study(folder / "study.json")
    assert Path(folder / "study_results").exists()
