"""Features in the files of thingsvision: one a layer or in parts, with the images' names."""

import numpy as np
import pytest
import scipy.io
import torch

import pytorch_feature_analysis as pfa

FILES = ["cat/1.jpg", "dog/ü.jpg", "ant/10.jpg", "ant/9.jpg", "emu/3.jpg"]
BOUNDS = [(0, 2), (2, 4), (4, 5)]


@pytest.fixture
def features():
    return np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "vgg16" / "features.0"
    folder.mkdir(parents=True)
    (folder / "file_names.txt").write_text("\n".join(FILES), encoding="utf-8")
    return folder


def write_hdf5(path, array):
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        file.create_dataset("features", data=array)


WRITERS = {
    "npy": np.save,
    "pt": lambda path, array: torch.save(torch.as_tensor(array), path),
    "mat": lambda path, array: scipy.io.savemat(path, {"features": array}),
    "hdf5": write_hdf5,
    "txt": np.savetxt,
    "csv": lambda path, array: np.savetxt(path, array, delimiter=","),
}


def read(pattern, **kwargs):
    df = pfa.read_activations(
        f"{{model}}/{{layer}}/{pattern}", stimuli="{model}/{layer}/file_names.txt", **kwargs
    )
    assert df[["model", "layer"]].to_numpy().tolist() == [["vgg16", "features.0"]]
    assert df.columns.tolist() == [
        *["model", "layer", "activations", "entry_keys", "entry_labels"],
    ]
    assert df["entry_keys"][0] == tuple((name,) for name in FILES)
    return df["activations"][0]


@pytest.mark.parametrize("suffix", WRITERS)
def test_one_file_a_layer_is_read_with_the_names_beside_it(suffix, features, folder):
    WRITERS[suffix](folder / f"features.{suffix}", features)
    np.testing.assert_array_equal(read(f"features.{suffix}"), features)


@pytest.mark.parametrize("suffix", WRITERS)
def test_parts_are_joined_in_their_order(suffix, features, folder):
    for number, (start, stop) in enumerate(BOUNDS, start=9):
        WRITERS[suffix](folder / f"features_{number}.{suffix}", features[start:stop])
    found = read(f"features_{{part}}.{suffix}", parts="part")
    # Part 10 comes after part 9, as it would not by letters.
    np.testing.assert_array_equal(found, features)


def test_parts_within_a_file_of_hdf5_are_joined(features, folder):
    h5py = pytest.importorskip("h5py")
    with h5py.File(folder / "features.hdf5", "w") as file:
        for number, (start, stop) in enumerate(BOUNDS, start=1):
            file.create_dataset(f"features_{number:02d}", data=features[start:stop])
    found = read("features.hdf5", variable="features_{part}", parts="part")
    np.testing.assert_array_equal(found, features)


def test_a_file_of_matlab_with_a_variable_an_image_is_read_with_their_names(features, folder):
    names = ["cat_1", "dog_2", "ant_10", "ant_9", "emu_3"]
    scipy.io.savemat(folder / "features.mat", dict(zip(names, features, strict=True)))
    df = pfa.read_activations("{model}/{layer}/features.mat", variable="{image}", parts="image")
    assert df["entry_keys"][0] == tuple((name,) for name in names)
    np.testing.assert_array_equal(df["activations"][0], features)
    order = ["emu_3", "cat_1"]
    df = pfa.read_activations(
        "{model}/{layer}/features.mat", variable="{image}", parts="image", stimuli=order
    )
    np.testing.assert_array_equal(df["activations"][0], features[[4, 0]])


def test_parts_of_units_by_stimuli_are_joined_along_the_stimuli(features, folder):
    for number, (start, stop) in enumerate(BOUNDS):
        np.save(folder / f"features_{number}.npy", features[start:stop].T)
    found = read("features_{part}.npy", parts="part", rows="units")
    np.testing.assert_array_equal(found, features)


def test_names_within_parts_are_kept(features, folder):
    for number, (start, stop) in enumerate(BOUNDS):
        np.savez(folder / f"part{number}.npz", acts=features[start:stop], files=FILES[start:stop])
    df = pfa.read_activations(
        "{model}/{layer}/part{part}.npz", parts="part", variable="acts", stimuli_variable="files"
    )
    assert df["entry_keys"][0] == tuple((name,) for name in FILES)
    np.testing.assert_array_equal(df["activations"][0], features)


def test_parts_that_do_not_belong_together_are_named(features, folder):
    np.save(folder / "features_1.npy", features)
    np.save(folder / "features_2.npy", features[:, :2])
    with pytest.raises(ValueError, match=r"1\.npy' and 1 more parts cannot be read: .*\(5, 2\)"):
        read("features_{part}.npy", parts="part")
    with pytest.raises(ValueError, match=r"`parts` names 'number', which is not a variable of"):
        read("features_{part}.npy", parts="number")
    np.save(folder / "features_2.npy", features)
    with pytest.raises(ValueError, match=r"has 10 stimuli, and there are 5 names"):
        read("features_{part}.npy", parts="part")
