"""Activations from files, beside the arrays that other libraries wrote into them."""

import logging
import pickle
import sys

import numpy as np
import pandas as pd
import pytest
import scipy.io
import torch

import pytorch_feature_analysis as pfa

NAMES = ["cat/1.jpg", "cat/2.jpg", "dog/7.jpg", "dog/3.jpg", "emu/4.jpg", "emu/9.jpg"]


@pytest.fixture
def x():
    """Six stimuli, four units."""
    return np.random.default_rng(0).normal(size=(6, 4))


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_h5(path, array):
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        file["acts"] = array


def write_matlab_73(path, items):
    """As MATLAB does: HDF5 behind a header of its own, with the axes in the opposite order."""
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, item in items.items():
            if isinstance(item, list):
                cells = np.empty((1, len(item)), dtype=h5py.ref_dtype)
                for k, text in enumerate(item):
                    codes = np.array([[ord(letter)] for letter in text], dtype=np.uint16)
                    cells[0, k] = file.create_dataset(f"#refs#/{name}{k}", data=codes).ref
                file.create_dataset(name, data=cells, dtype=h5py.ref_dtype)
            else:
                file[name] = item.T
                file[name].attrs["MATLAB_class"] = np.bytes_("double")
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\0\2IM")


WRITERS = {
    "npy": np.save,
    "npz": lambda path, array: np.savez(path, acts=array),
    "csv": lambda path, array: pd.DataFrame(array).to_csv(path),
    "tsv": lambda path, array: pd.DataFrame(array).to_csv(path, sep="\t", header=False),
    "mat": lambda path, array: scipy.io.savemat(path, {"acts": array}),
    "pt": lambda path, array: torch.save(torch.as_tensor(array.copy()), path),
    "pth": lambda path, array: torch.save({"acts": torch.as_tensor(array.copy())}, path),
    "h5": write_h5,
    "hdf5": write_h5,
    "p": lambda path, array: pfa.pickle_dump(array, path),
    "pkl": lambda path, array: pfa.pickle_dump({"acts": array}, path),
    "pickle": lambda path, array: pfa.pickle_dump(pd.DataFrame(array), path),
}


@pytest.mark.parametrize("suffix", WRITERS)
@pytest.mark.parametrize("rows", ["stimuli", "units"])
def test_what_another_library_wrote_comes_back_in_either_orientation(suffix, rows, folder, x):
    (folder / "acts").mkdir()
    for model, layer, factor in [("a", "conv2", 1), ("a", "conv10", 2), ("b", "conv2", 3)]:
        array = factor * (x if rows == "stimuli" else x.T)
        WRITERS[suffix](folder / "acts" / f"{model}_{layer}.{suffix}", array)
    df = pfa.read_activations(f"acts/{{model}}_{{layer}}.{suffix}", rows=rows, stimuli=NAMES)
    assert df.columns.tolist() == [
        *["model", "layer", "activations", "entry_keys", "entry_labels"],
    ]
    assert df[["model", "layer"]].to_numpy().tolist() == [
        *[["a", "conv2"], ["a", "conv10"], ["b", "conv2"]],
    ]
    for array, factor in zip(df["activations"], (1, 2, 3), strict=True):
        np.testing.assert_array_equal(array, factor * x)
        assert not array.flags.writeable
    assert all(keys == tuple((name,) for name in NAMES) for keys in df["entry_keys"])
    assert df["entry_labels"][0][2] == {"stimulus": "dog/7.jpg"}


@pytest.mark.parametrize("suffix", WRITERS)
def test_stimuli_without_names_are_numbered(suffix, folder, x):
    WRITERS[suffix](folder / f"a.{suffix}", x)
    keys = pfa.read_activations(f"{{layer}}.{suffix}")["entry_keys"][0]
    # The counts that pandas writes into .csv and .tsv files are text there.
    expected = [str(k) if suffix in ("csv", "tsv") else k for k in range(6)]
    assert keys == tuple((k,) for k in expected)


def test_the_frame_is_what_similarity_takes_whatever_the_order_of_the_files(folder, x):
    y = x[:, :3] ** 2
    order = [4, 2, 0, 5, 1, 3]
    pd.DataFrame(x, index=NAMES).to_csv("one.csv")
    pd.DataFrame(y[order], index=[NAMES[k] for k in order]).to_csv("two.csv")
    df = pfa.read_activations("{layer}.csv")
    measures = ["linear_cka", "procrustes_distance"]
    stack = pfa.get_similarity_rdms(df, measures)
    aligned = pd.DataFrame(
        {"layer": ["one", "two"], "activations": [x, y], "entry_keys": [NAMES, NAMES]}
    )
    expected = pfa.get_similarity_rdms(aligned, measures)
    for found, wanted in zip(stack["matrix"], expected["matrix"], strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-12)
    # By position, the numbers would be others.
    wrong = aligned.assign(activations=[x, y[order]])
    assert (
        abs(pfa.get_similarity_rdms(wrong, measures)["matrix"][0] - stack["matrix"][0]).max()
        > 0.01
    )


def test_pandas_counts_join_shuffled_tables_too(x):
    pd.DataFrame(x).to_csv("one.csv")
    pd.DataFrame(x).iloc[::-1].to_csv("two.csv")
    stack = pfa.get_similarity_rdms(pfa.read_activations("{layer}.csv"), ["procrustes_distance"])
    np.testing.assert_allclose(stack["matrix"][0], 0, atol=1e-12)


def test_a_folder_a_model_with_a_list_of_its_images(folder, x):
    for model, order in [("deit", [0, 1, 2, 3, 4, 5]), ("swin", [3, 1, 0, 2, 5, 4])]:
        (folder / f"{model}_ecoVal").mkdir()
        np.save(f"{model}_ecoVal/cls_tokens.npy", x[order])
        paths = "\r\n".join(f"/data/val/{NAMES[k]}" for k in order)
        (folder / f"{model}_ecoVal" / "imagepaths.txt").write_text(f"{paths}\r\n")
    options = {
        "stimuli": "{model}_ecoVal/imagepaths.txt",
        "stimulus_pattern": "{category}/{image}.jpg",
    }
    df = pfa.read_activations("{model}_ecoVal/cls_tokens.npy", **options)
    assert df["model"].tolist() == ["deit", "swin"]
    assert df["entry_keys"][1][:2] == (("dog", "3"), ("cat", "2"))
    assert df["entry_labels"][1][0] == {"category": "dog", "image": "3"}

    one = pfa.read_activations("{model}_ecoVal/cls_tokens.npy", one_per="category", **options)
    # The first of each category in the first file, where each file has them.
    assert one["entry_keys"].tolist() == [
        (("cat", "1"), ("dog", "7"), ("emu", "4")),
        (("cat", "1"), ("dog", "7"), ("emu", "4")),
    ]
    np.testing.assert_array_equal(one["activations"][0], x[[0, 2, 4]])
    np.testing.assert_array_equal(one["activations"][1], x[[0, 2, 4]])


def test_one_per_category_at_random_is_seeded_and_the_same_in_all_files(x):
    rng = np.random.default_rng(1)
    names = [f"{category}/{k}.jpg" for category in "abcd" for k in range(50)]
    table = pd.DataFrame(rng.normal(size=(200, 3)), index=names)
    table.to_csv("one.csv")
    table.sample(frac=1, random_state=0).to_csv("two.csv")

    def picked(pattern="{layer}.csv", **options):
        df = pfa.read_activations(
            pattern,
            stimulus_pattern="{category}/{k}.jpg",
            one_per="category",
            pick="random",
            **options,
        )
        (first,) = set(map(frozenset, df["entry_keys"]))
        assert sorted(category for category, _ in first) == ["a", "b", "c", "d"]
        for row in df.itertuples():
            expected = table.loc[["/".join(key) + ".jpg" for key in row.entry_keys]]
            np.testing.assert_array_equal(row.activations, expected)
        return first

    assert picked() == picked(random_state=0)
    # Nor does it matter in which order the file has them that is read first.
    pd.read_csv("two.csv", index_col=0).to_csv("a.csv")
    assert picked() == picked(pattern="{layer}e.csv") == picked(pattern="{layer}o.csv")
    assert len({frozenset(picked(random_state=seed)) for seed in range(5)}) > 1


def test_one_file_a_model_with_an_array_a_layer(x):
    np.savez("alexnet.npz", conv10=x, conv2=2 * x, names=np.array(NAMES), size=np.array([3, 4]))
    torch.save({"conv2": torch.ones(6, 2), "deep": {"fc": torch.zeros(6, 2)}}, "vgg.pt")
    df = pfa.read_activations("{model}.npz", variable="{layer}", stimuli_variable="names")
    assert df[["model", "layer"]].to_numpy().tolist() == [
        ["alexnet", "conv10"],
        ["alexnet", "conv2"],
    ]
    assert df["entry_keys"][0][0] == ("cat/1.jpg",)
    np.testing.assert_array_equal(df["activations"][1], 2 * x)

    one = pfa.read_activations("alexnet.npz", variable="conv2")
    assert one.columns.tolist() == ["activations", "entry_keys", "entry_labels"]
    np.testing.assert_array_equal(one["activations"][0], 2 * x)
    assert pfa.read_activations("{m}.pt", variable="deep/{layer}")["layer"].tolist() == ["fc"]
    assert pfa.read_activations("{m}.pt", variable="deep/fc")["activations"][0].shape == (6, 2)
    # What the path says is put in before arrays are looked for.
    named = pfa.read_activations("{_model}.npz", variable="{kind}v2")
    assert named.columns[:1].tolist() == ["kind"]
    assert named["kind"].tolist() == ["con"]


def test_values_of_the_path_are_put_into_names_of_arrays(x):
    np.savez("a.npz", a_acts=x, b_acts=x + 1, a_names=NAMES)
    df = pfa.read_activations(
        "{model}.npz", variable="{model}_acts", stimuli_variable="{model}_names"
    )
    np.testing.assert_array_equal(df["activations"][0], x)
    assert df["entry_keys"][0][1] == ("cat/2.jpg",)


def test_groups_of_hdf5(x):
    h5py = pytest.importorskip("h5py")
    with h5py.File("a.h5", "w") as file:
        for layer in ("conv10", "conv2"):
            file[f"acts/{layer}"] = x
        file["names"] = NAMES
    df = pfa.read_activations("{m}.h5", variable="acts/{layer}", stimuli_variable="names")
    assert df["layer"].tolist() == ["conv2", "conv10"]
    assert df["entry_keys"][0][5] == ("emu/9.jpg",)
    np.testing.assert_array_equal(df["activations"][0], x)


def test_names_in_cell_arrays_of_matlab_and_both_of_its_formats(folder, x):
    cells = np.array(NAMES, dtype=object)[:, None]
    scipy.io.savemat("old.mat", {"acts": x, "names": cells, "k": 7.0, "s": ["ab", "c"]})
    write_matlab_73(folder / "new.mat", {"acts": x, "names": NAMES, "k": np.array([[7.0]])})
    df = pfa.read_activations("{version}.mat", stimuli_variable="names")
    assert df["version"].tolist() == ["new", "old"]
    for row in df.itertuples():
        np.testing.assert_array_equal(row.activations, x)
        assert row.entry_keys == tuple((name,) for name in NAMES)
    write_matlab_73(folder / "one.mat", {"acts": x.T})
    df = pfa.read_activations("one.mat", rows="units")
    np.testing.assert_array_equal(df["activations"][0], x)


def test_numbers_as_names_in_matlab(x):
    scipy.io.savemat("a.mat", {"acts": x, "ids": np.array([[9.0, 8, 7, 6, 5, 4]])})
    df = pfa.read_activations("a.mat", variable="acts", stimuli_variable="ids")
    assert df["entry_keys"][0][:2] == (("9",), ("8",))


@pytest.mark.parametrize("rows", ["stimuli", "units"])
def test_maps_keep_their_axes_and_are_as_good_as_flat(rows, x):
    maps = np.arange(6 * 2 * 3 * 5, dtype=np.float32).reshape(6, 2, 3, 5) ** 0.5
    np.save("maps.npy", maps if rows == "stimuli" else np.moveaxis(maps, 0, -1))
    np.save(
        "flat.npy",
        maps.reshape(6, -1)[:, :4] if rows == "stimuli" else maps.reshape(6, -1)[:, :4].T,
    )
    df = pfa.read_activations("{layer}.npy", rows=rows).set_index("layer")
    np.testing.assert_array_equal(df["activations"]["maps"], maps)
    assert df["activations"]["flat"].shape == (6, 4)
    stack = pfa.get_similarity_rdms(df.reset_index(), [("svcca", {"n_dims": 1})])
    assert stack["matrix"][0].shape == (2, 2)


def test_arrays_of_numpy_and_torch_are_mapped_from_their_files(x):
    np.save("a.npy", x)
    torch.save(torch.as_tensor(x), "a.pt")
    df = pfa.read_activations("a.npy")
    assert isinstance(df["activations"][0], np.memmap)
    assert isinstance(pfa.read_activations("a.npy", rows="units")["activations"][0], np.memmap)
    np.testing.assert_array_equal(pfa.read_activations("a.pt")["activations"][0], x)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, bool, np.float16, ">f4"])
def test_whole_numbers_and_truth_values_are_accepted_as_they_are(dtype, x):
    np.save("a.npy", (x > 0).astype(dtype))
    assert pfa.read_activations("a.npy")["activations"][0].dtype == dtype


def test_bfloat16_becomes_float32(x):
    tensor = torch.as_tensor(x).bfloat16().requires_grad_()
    torch.save(tensor, "a.pt")
    found = pfa.read_activations("a.pt")["activations"][0]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, tensor.detach().double())


def test_torch_files_of_the_old_format_are_read(x):
    torch.save([torch.as_tensor(x)], "a.pt", _use_new_zipfile_serialization=False)
    df = pfa.read_activations("{m}.pt", variable="{layer}")
    assert df["layer"].tolist() == ["0"]
    np.testing.assert_array_equal(df["activations"][0], x)


def test_pickled_arrays_in_npy_files_are_read(x):
    np.save("a.npy", {"conv1": x, "fc1": [[1, 2], [3, 4], [5, 6]]}, allow_pickle=True)
    df = pfa.read_activations("a.npy", variable="{layer}")
    assert df["layer"].tolist() == ["conv1", "fc1"]
    np.testing.assert_array_equal(df["activations"][0], x)
    np.testing.assert_array_equal(df["activations"][1], [[1, 2], [3, 4], [5, 6]])


def test_frames_in_pickles_name_their_stimuli(x):
    pfa.pickle_dump(pd.DataFrame(x.T, columns=NAMES), "a.pkl")
    df = pfa.read_activations("{layer}.pkl", rows="units")
    assert df["entry_keys"][0][3] == ("dog/3.jpg",)


def test_nan_is_left_to_the_measures(x):
    x[2, 1] = np.nan
    pd.DataFrame(x, index=NAMES).to_csv("a.csv")
    found = pfa.read_activations("a.csv")["activations"][0]
    np.testing.assert_array_equal(found, x)


CSV = [
    ("0.5,1\n2,3\n", {}, None, [[0.5, 1], [2, 3]]),
    ("0,1\n2.5,3\n", {}, None, [[2.5, 3]]),
    ("0,1\n2,3\n", {}, None, [[0, 1], [2, 3]]),
    ("0,1\n2.5,3\n", {"header": False}, None, [[0, 1], [2.5, 3]]),
    ("5,1,2\n6,3,4\n", {}, None, [[5, 1, 2], [6, 3, 4]]),
    ("u1,u2\n1,2\n3,4\n", {}, None, [[1, 2], [3, 4]]),
    ("a,1,2\nb,3,4\n", {}, ["a", "b"], [[1, 2], [3, 4]]),
    ("a,1.5,2\nb,3,4\n", {}, ["a", "b"], [[1.5, 2], [3, 4]]),
    (",0,1\na,1,2\nb,3,4\n", {}, ["a", "b"], [[1, 2], [3, 4]]),
    (",u,v\n7,1,2\n3,3,4\n", {}, ["7", "3"], [[1, 2], [3, 4]]),
    ("id,u,v\n7,1,2\n3,3,4\n", {}, ["7", "3"], [[1, 2], [3, 4]]),
    ("w,u,v\n7,1,2\n3,3,4\n", {}, None, [[7, 1, 2], [3, 3, 4]]),
    ("w,u,v\n7,1,2\n3,3,4\n", {"index": True}, ["7", "3"], [[1, 2], [3, 4]]),
    ("u,v\na,1,2\nb,3,4\n", {}, ["a", "b"], [[1, 2], [3, 4]]),
    ("\ufeffid, u, v\nNA, 1, 2\nnull, 3, 4\n", {}, ["NA", "null"], [[1, 2], [3, 4]]),
    ('"","V1"\n"a ""b"", c",1e-3\n', {}, ['a "b", c'], [[0.001]]),
    ("u1,u2\n0,1\n1,5\n2,5\n", {}, ["0", "1", "2"], [[1], [5], [5]]),
    ("3,1\n4,5\n5,5\n", {}, None, [[3, 1], [4, 5], [5, 5]]),
    ("u,v\n1,\n,4\n", {}, None, [[1, np.nan], [np.nan, 4]]),
    ("007,1,2\n008,3,4\n", {"index": True}, ["007", "008"], [[1, 2], [3, 4]]),
]


@pytest.mark.parametrize(("text", "options", "names", "numbers"), CSV)
def test_names_in_text_files_are_told_from_numbers(text, options, names, numbers, folder):
    (folder / "a.csv").write_text(text, encoding="utf-8")
    df = pfa.read_activations("a.csv", **options)
    expected = range(len(numbers)) if names is None else names
    assert df["entry_keys"][0] == tuple((name,) for name in expected)
    np.testing.assert_array_equal(df["activations"][0], numbers)
    # The same table on its side has the names above its columns.
    if names is not None and len(numbers) > 1:
        pd.DataFrame(np.transpose(numbers), columns=names).to_csv("b.csv", index=False)
        turned = pfa.read_activations("b.csv", rows="units", header=True, index=False)
        assert turned["entry_keys"][0] == df["entry_keys"][0]
        np.testing.assert_array_equal(turned["activations"][0], numbers)


def test_floats_in_text_files_keep_their_last_digit(x):
    x = x / 3
    pd.DataFrame(x).to_csv("a.csv", index=False)
    np.testing.assert_array_equal(pfa.read_activations("a.csv")["activations"][0], x)


def test_stimuli_choose_and_order_what_files_name_themselves(x):
    pd.DataFrame(x, index=NAMES).to_csv("a.csv")
    chosen = ["emu/9.jpg", "cat/2.jpg"]
    df = pfa.read_activations("a.csv", stimuli=chosen)
    np.testing.assert_array_equal(df["activations"][0], x[[5, 1]])
    assert df["entry_keys"][0] == (("emu/9.jpg",), ("cat/2.jpg",))
    with pytest.raises(ValueError, match=r"names 'fox', which 'a\.csv' lacks; its own .*'cat/1"):
        pfa.read_activations("a.csv", stimuli=["fox", *chosen])


def test_names_may_be_numbers_paths_or_tuples(folder, x):
    np.save("a.npy", x[:2])
    names = [folder / "x.png", 3]
    df = pfa.read_activations("a.npy", stimuli=names)
    assert df["entry_keys"][0] == (((folder / "x.png").as_posix(),), (3,))
    names = [("cup", "red"), ("cup", "blue")]
    df = pfa.read_activations("a.npy", stimuli=names)
    assert df["entry_keys"][0] == tuple(names)
    assert df["entry_labels"][0][0] == {"entry_1": "cup", "entry_2": "red"}
    assert names == [("cup", "red"), ("cup", "blue")]


def test_rows_keep_their_stimuli_unless_only_shared_ones_are_asked_for(x, caplog):
    pd.DataFrame(x, index=NAMES).to_csv("one.csv")
    pd.DataFrame(x[4:0:-1], index=NAMES[4:0:-1]).to_csv("two.csv")
    with caplog.at_level(logging.INFO, logger="pytorch_feature_analysis"):
        df = pfa.read_activations("{layer}.csv")
    assert "`only_shared=True` keeps what all have" in caplog.text
    assert [len(keys) for keys in df["entry_keys"]] == [6, 4]
    shared = pfa.read_activations("{layer}.csv", only_shared=True)
    assert shared["entry_keys"][0] == shared["entry_keys"][1]
    assert [key for (key,) in shared["entry_keys"][0]] == NAMES[1:5]
    for array in shared["activations"]:
        np.testing.assert_array_equal(array, x[1:5])
    pd.DataFrame(x, index=list("abcdef")).to_csv("three.csv")
    with pytest.raises(ValueError, match="no stimulus that all rows have"):
        pfa.read_activations("{layer}.csv", only_shared=True)


def test_absolute_patterns_paths_and_parts_of_the_tree_that_are_fixed(folder, x):
    (folder / "{odd}" / "sub").mkdir(parents=True)
    np.save(folder / "{odd}" / "sub" / "a.npy", x)
    for pattern in [
        "{{odd}}/sub/{layer}.npy",
        "./{{odd}}/sub/{layer}.npy",
        folder / "{{odd}}" / "sub" / "{layer}.npy",
        f"{folder}/{{{{odd}}}}/{{_part}}/{{layer}}.npy",
    ]:
        assert pfa.read_activations(pattern)["layer"].tolist() == ["a"]


def test_variables_with_a_bar_in_front_are_no_columns(x):
    np.save("conv1_20240101.npy", x)
    assert pfa.read_activations("{layer}_{_date}.npy").columns[0] == "layer"
    np.save("conv1_20240102.npy", x)
    with pytest.raises(
        ValueError, match=r"'conv1_20240101\.npy' and 'conv1_20240102\.npy' are both .*'conv1'"
    ):
        pfa.read_activations("{layer}_{_date}.npy")


@pytest.mark.parametrize(
    ("pattern", "match"),
    [
        ("{layer}.csv", r"No file in the folder '\.' fits `pattern` .* It holds, .*'a\.npy'"),
        ("nowhere/{layer}.npy", "begins with the folder 'nowhere', which does not exist in"),
        ("b.npy", "No file in the folder"),
        ("%s.npy", "put a name in braces in its place, such as '{model}'"),
        ("*.npy", "it has no wildcards"),
        ("{matrix}.npy", "'matrix' is a column of the library"),
        ("{layer}.doc", r"fits 'b\.doc', of a kind that is not read here\. There are: \.npy, "),
        ("", "`pattern` must be the path"),
        (3, "`pattern` must be the path"),
    ],
)
def test_a_pattern_that_fits_nothing_says_what_is_there(pattern, match, folder, x):
    np.save("a.npy", x)
    (folder / "b.doc").touch()
    with pytest.raises((ValueError, TypeError, FileNotFoundError), match=match):
        pfa.read_activations(pattern)


def test_several_arrays_where_one_is_needed_are_listed(x):
    np.savez("a.npz", conv1=x, fc1=x, size=[3])
    with pytest.raises(ValueError, match=r"holds 2 arrays, 'conv1', 'fc1', .*variable='{layer}'"):
        pfa.read_activations("{model}.npz")
    with pytest.raises(ValueError, match=r"`variable` names 'conv2', .*'a\.npz'.*'conv1'"):
        pfa.read_activations("{model}.npz", variable="conv2")
    with pytest.raises(ValueError, match=r"'conv_{layer}' fits no array .* holds 'conv1', 'fc1'"):
        pfa.read_activations("{model}.npz", variable="conv_{layer}")
    with pytest.raises(ValueError, match="`stimuli_variable` names 'names', which is not a"):
        pfa.read_activations("{model}.npz", variable="fc1", stimuli_variable="names")
    np.save("a.npy", x)
    with pytest.raises(ValueError, match="holds one array without a name; leave `variable` out"):
        pfa.read_activations("a.npy", variable="conv1")
    np.savez("b.npz", size=[3], names=["a"])
    with pytest.raises(ValueError, match="no array of numbers with two axes or more, but 'size'"):
        pfa.read_activations("b.npz")
    with pytest.raises(TypeError, match=r"'b\.npz', array 'names', must be real numbers, not"):
        pfa.read_activations("b.npz", variable="names")
    with pytest.raises(ValueError, match=r"'b\.npz', array 'size', .* has the shape"):
        pfa.read_activations("b.npz", variable="size")
    np.save("complex.npy", x + 1j)
    with pytest.raises(ValueError, match="no array of numbers"):
        pfa.read_activations("complex.npy")


def test_names_must_be_as_many_as_the_stimuli_and_distinct(folder, x):
    np.save("a.npy", x)
    with pytest.raises(ValueError, match=r"'a\.npy' has 6 stimuli, and there are 5 names\. One"):
        pfa.read_activations("a.npy", stimuli=NAMES[:5])
    with pytest.raises(ValueError, match=r"6 stimuli, and there are 4 names.*rows='units'\?"):
        pfa.read_activations("a.npy", stimuli=NAMES[:4])
    with pytest.raises(ValueError, match=r"4 stimuli, and there are 6 names.*rows='stimuli'\?"):
        pfa.read_activations("a.npy", stimuli=NAMES, rows="units")
    with pytest.raises(ValueError, match="`stimuli` has 'b' more than once"):
        pfa.read_activations("a.npy", stimuli=["a", "b", "b", "c", "b", "d"])
    (folder / "names.txt").write_text("a\nb\na\n")
    with pytest.raises(ValueError, match=r"'names\.txt' has 'a' more than once"):
        pfa.read_activations("a.npy", stimuli="names.txt")
    pd.DataFrame(x, index=list("abcdea")).to_csv("a.csv")
    with pytest.raises(ValueError, match=r"'a\.csv' has 'a' more than once"):
        pfa.read_activations("a.csv")
    np.savez("a.npz", x=x, names=NAMES[:5])
    with pytest.raises(ValueError, match="6 stimuli, and there are 5 names"):
        pfa.read_activations("a.npz", stimuli_variable="names")


def test_lists_of_names_that_are_missing_are_all_named(folder, x):
    for model in ("a", "b", "c"):
        np.save(f"{model}.npy", x)
    (folder / "b.txt").write_text("\n".join(NAMES))
    with pytest.raises(FileNotFoundError, match=r"there is no 'a\.txt', 'c\.txt' \(from '"):
        pfa.read_activations("{model}.npy", stimuli="{model}.txt")
    with pytest.raises(ValueError, match="`stimuli` names 'net', which is not a variable of the"):
        pfa.read_activations("{model}.npy", stimuli="{net}.txt")
    (folder / "names.txt").write_bytes(b"caf\xe9")
    with pytest.raises(ValueError, match="is no text in UTF-8"):
        pfa.read_activations("{model}.npy", stimuli="names.txt")
    with pytest.raises(TypeError, match="`stimuli` must be a list of names, not 3"):
        pfa.read_activations("{model}.npy", stimuli=3)


def test_files_with_names_and_files_without_are_not_joined_by_position(x):
    pd.DataFrame(x, index=NAMES).to_csv("a.csv")
    np.save("b.npy", x)
    with pytest.raises(ValueError, match=r"'a\.csv' names its stimuli and 'b\.npy' does not"):
        pfa.read_activations("{layer}.{_kind}")
    assert len(pfa.read_activations("{layer}.{_kind}", stimuli=NAMES)) == 2


def test_stimulus_patterns_that_do_not_fit_are_errors(x):
    np.save("a.npy", x)
    give = {"stimuli": NAMES}
    with pytest.raises(ValueError, match=r"does not fit 6 of the 6 names .*such as 'cat/1\.jpg'"):
        pfa.read_activations("a.npy", stimulus_pattern="{category}/{k}.png", **give)
    with pytest.raises(ValueError, match=r"gives 'cat/1\.jpg' and 'cat/2\.jpg' .* the same"):
        pfa.read_activations("a.npy", stimulus_pattern="{category}/{_k}.jpg", **give)
    with pytest.raises(ValueError, match="names no variable but such as begin with '_'"):
        pfa.read_activations("a.npy", stimulus_pattern="{_k}.jpg", **give)
    with pytest.raises(ValueError, match=r"'a\.npy' has none; give them by `stimuli`"):
        pfa.read_activations("a.npy", stimulus_pattern="{category}/{k}.jpg")
    with pytest.raises(ValueError, match="nothing says what that is: give `stimulus_pattern`"):
        pfa.read_activations("a.npy", one_per="category", **give)
    with pytest.raises(ValueError, match="`one_per` names 'kind', which is not a variable"):
        pfa.read_activations(
            "a.npy", one_per="kind", stimulus_pattern="{category}/{k}.jpg", **give
        )


def test_arguments_of_another_kind_are_errors(x):
    np.save("a.npy", x)
    with pytest.raises(ValueError, match="`rows` names 'columns'"):
        pfa.read_activations("a.npy", rows="columns")
    with pytest.raises(ValueError, match="`pick` names 'last'"):
        pfa.read_activations("a.npy", pick="last")
    with pytest.raises(TypeError, match="`header` must be True, False or None, not 'yes'"):
        pfa.read_activations("a.npy", header="yes")
    with pytest.raises(ValueError, match="both say where names are; give one"):
        pfa.read_activations("a.npy", stimuli=NAMES, stimuli_variable="names")
    with pytest.raises(TypeError, match="`variable` must be a string, not int"):
        pfa.read_activations("a.npy", variable=3)


def test_all_files_that_cannot_be_read_are_named_at_once(folder, x):
    for suffix, write in WRITERS.items():
        write(folder / f"good.{suffix}", x)
        whole = (folder / f"good.{suffix}").read_bytes()
        (folder / f"cut.{suffix}").write_bytes(whole[: len(whole) // 3])
        (folder / f"empty.{suffix}").touch()
        (folder / f"noise.{suffix}").write_bytes(bytes(range(7, 250)) * 8)
    with pytest.raises(ValueError, match="of 48 files cannot be read:") as caught:
        pfa.read_activations("{kind}.{suffix}")
    # A third of a table of text is a table too.
    wrong = [(kind, suffix) for suffix in WRITERS for kind in ("cut", "noise", "empty")]
    wrong = [pair for pair in wrong if pair not in [("cut", "csv"), ("cut", "tsv")]]
    lines = str(caught.value).splitlines()
    assert lines[0] == f"{len(wrong)} of 48 files cannot be read:"
    assert sorted(line.split("'")[1] for line in lines[1:]) == sorted(map(".".join, wrong))
    assert "- 'empty.npy': it is empty" in lines
    for kind, suffix in wrong:
        with pytest.raises(ValueError, match=rf"cannot be read: '{kind}\.{suffix}': .+"):
            pfa.read_activations(f"{kind}.{suffix}")


def test_text_files_with_something_else_than_numbers_are_named(folder):
    (folder / "a.csv").write_text("u,v\n1,2\n3,many\n")
    with pytest.raises(ValueError, match=r"'a\.csv'.*'many' in line 3, field 2, is not a number"):
        pfa.read_activations("a.csv")
    (folder / "b.csv").write_text("1;2\n3;4\n")
    with pytest.raises(ValueError, match="have commas between them"):
        pfa.read_activations("b.csv", header=False, index=False)
    (folder / "c.csv").write_text("1,2\n3,4,5\n")
    with pytest.raises(ValueError, match=r"'c\.csv'"):
        pfa.read_activations("c.csv")


class Trap:
    """Its pickle makes a folder where it is loaded by `pickle.load`."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        import os

        return os.mkdir, (self.path,)


@pytest.mark.parametrize("kind", ["npy", "npz", "pt", "old.pt", "p", "pkl"])
def test_a_pickle_that_calls_code_is_refused_in_every_kind_of_file(kind, folder):
    trapped, path = folder / "trapped", folder / f"a.{kind}"
    trap = np.array({"conv1": Trap(trapped)}, dtype=object)
    if kind == "npy":
        np.save(path, trap, allow_pickle=True)
    elif kind == "npz":
        np.savez(path, acts=trap)
    elif kind.endswith("pt"):
        torch.save(Trap(trapped), path, _use_new_zipfile_serialization=kind == "pt")
    else:
        path.write_bytes(pickle.dumps(Trap(trapped)))
    variable = "acts" if kind == "npz" else None
    with pytest.raises(ValueError, match=r"mkdir"):
        pfa.read_activations(path, variable=variable)
    assert not trapped.exists()


def test_without_h5py_the_error_says_how_to_get_it(folder, x, monkeypatch):
    write_h5(folder / "a.h5", x)
    write_matlab_73(folder / "a.mat", {"acts": x})
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(
        ImportError, match=r"file of HDF5, .*pip install 'pytorch_feature_ana.*hdf5"
    ):
        pfa.read_activations("a.h5")
    with pytest.raises(ImportError, match=r"MATLAB 7\.3, which is HDF5, .*pip install"):
        pfa.read_activations("a.mat")


def test_a_file_that_turns_out_damaged_while_it_is_read_is_named(folder, x):
    np.savez_compressed("a.npz", acts=np.arange(6000.0).reshape(6, -1))
    content = bytearray((folder / "a.npz").read_bytes())
    content[len(content) // 2] ^= 255
    (folder / "a.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"'a\.npz', array 'acts', cannot be read: .+"):
        pfa.read_activations("a.npz")
