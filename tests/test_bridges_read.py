"""RDMs in files that other libraries wrote, beside the arrays that went into them."""

import itertools
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.io
from scipy.spatial.distance import pdist, squareform

import pytorch_feature_analysis as pfa
from pytorch_feature_analysis.bridges import _content

NAMES = ["face ü", "hand", "tree", "sky\u2603", "car"]


@pytest.fixture
def triangles():
    """Three RDMs of five entries in the order of scipy's pdist, one with NaN."""
    rng = np.random.default_rng(0)
    found = np.stack([pdist(rng.random((5, 3))) for _ in range(3)])
    found[1, 2] = np.nan
    return found


@pytest.fixture
def squares(triangles):
    return np.stack([squareform(one) for one in triangles])


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def keys_of(names):
    return tuple((name,) for name in names)


def assert_holds(stack, squares, names=range(5)):
    assert len(stack) == len(squares)
    for matrix, keys, expected in zip(stack["matrix"], stack["entry_keys"], squares, strict=True):
        np.testing.assert_array_equal(matrix, expected)
        assert keys == keys_of(names)
        assert not matrix.flags.writeable
    pfa.check_rdm_stack(stack)


def struct_array(rdms):
    """As loadmat gives, and savemat takes, the struct arrays of the 92 images."""
    structs = np.zeros((1, len(rdms)), [(name, object) for name in ("RDM", "name", "color")])
    for k, rdm in enumerate(rdms):
        structs[0, k] = (rdm, f"hIT | subject {k} | ü", np.array([[k / 2, 0.0, 1.0]]))
    return structs


def columns_of_structs(stack):
    return stack[["name", "color"]].to_numpy().tolist()


EXPECTED_COLUMNS = [[f"hIT | subject {k} | ü", (k / 2, 0.0, 1.0)] for k in range(3)]


@pytest.mark.parametrize("form", ["square", "row", "column"])
def test_struct_arrays_of_matlab_are_rows_with_their_names_and_colours(form, squares, triangles):
    rdms = {"square": squares, "row": triangles[:, None], "column": triangles[..., None]}[form]
    scipy.io.savemat("rdms.mat", {"RDMs": struct_array(rdms), "note": "made for a test"})
    stack = pfa.read_rdms("rdms.mat")
    assert stack.columns.tolist() == ["name", "color", "matrix", "entry_keys"]
    assert_holds(stack, squares)
    assert columns_of_structs(stack) == EXPECTED_COLUMNS
    assert pfa.read_rdms("rdms.mat", where=[("name", EXPECTED_COLUMNS[1][0])]).index.tolist() == [
        1
    ]
    assert_holds(pfa.read_rdms("rdms.mat", entry_keys=NAMES), squares, NAMES)


def matlab_73(path, write):
    """As MATLAB does: HDF5 behind a header of its own."""
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w", userblock_size=512) as file:
        write(h5py, file)
    with Path(path).open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\0\2IM")


def put(file, name, item):
    """One variable with MATLAB's axes and classes; texts are codes."""
    if isinstance(item, str):
        data, kind = np.array([[ord(letter)] for letter in item], dtype=np.uint16), b"char"
    else:
        data, kind = np.atleast_2d(item).T, b"double"
    dataset = file.create_dataset(name, data=data)
    dataset.attrs["MATLAB_class"] = np.bytes_(kind)
    return dataset.ref


def test_struct_arrays_of_matlab_7_3_are_the_same(squares):
    structs = struct_array(squares)

    def write(h5py, file):
        group = file.create_group("RDMs")
        group.attrs["MATLAB_class"] = np.bytes_(b"struct")
        for field in structs.dtype.names:
            refs = np.empty((3, 1), dtype=h5py.ref_dtype)
            for k in range(3):
                refs[k, 0] = put(file, f"#refs#/{field}{k}", structs[field][0, k])
            group.create_dataset(field, data=refs, dtype=h5py.ref_dtype)
        cells = np.empty((1, 5), dtype=h5py.ref_dtype)
        for k, name in enumerate(NAMES):
            cells[0, k] = put(file, f"#refs#/n{k}", name)
        labels = file.create_dataset("labels", data=cells, dtype=h5py.ref_dtype)
        labels.attrs["MATLAB_class"] = np.bytes_(b"cell")

    matlab_73("rdms.mat", write)
    stack = pfa.read_rdms("rdms.mat")
    assert_holds(stack, squares, NAMES)
    assert columns_of_structs(stack) == EXPECTED_COLUMNS


def test_one_struct_of_matlab_7_3_and_plain_variables_are_read(squares, triangles):
    def write(h5py, file):
        group = file.create_group("model")
        group.attrs["MATLAB_class"] = np.bytes_(b"struct")
        put(group, "RDM", squares[0])
        put(group, "name", "V1")
        put(file, "utv", triangles[2])
        crooked = np.triu(squares[0])
        put(file, "crooked", crooked)

    matlab_73("rdms.mat", write)
    stack = pfa.read_rdms("rdms.mat")
    assert stack[["variable", "name"]].to_numpy().tolist() == [
        *[[None, "crooked"], ["model", "V1"], [None, "utv"]],
    ]
    # The axes are turned round in the file, which a symmetric matrix would not show.
    assert_holds(stack, [np.triu(squares[0]), squares[0], squares[2]])


def test_stacks_of_matlab_have_the_rdm_last_and_those_of_numpy_first(squares):
    scipy.io.savemat("rdms.mat", {"rdms": np.moveaxis(squares, 0, -1)})
    np.save("rdms.npy", squares)
    for path in ("rdms.mat", "rdms.npy"):
        stack = pfa.read_rdms(path)
        assert stack[["name", "number"]].to_numpy().tolist() == [["rdms", k] for k in range(3)]
        assert_holds(stack, squares)
    # As many RDMs as entries: what is symmetric tells.
    many = np.concatenate([squares, squares[:2] + 1 - np.eye(5)])
    np.save("first.npy", many)
    np.save("last.npy", np.moveaxis(many, 0, -1))
    scipy.io.savemat("first.mat", {"rdms": many})
    for path in ("first.npy", "last.npy", "first.mat"):
        assert_holds(pfa.read_rdms(path), many)
    # And where nothing tells, the format does.
    any_cube = np.random.default_rng(1).random((5, 5, 5))
    np.save("cube.npy", any_cube)
    scipy.io.savemat("cube.mat", {"cube": any_cube})
    assert_holds(pfa.read_rdms("cube.npy"), any_cube)
    assert_holds(pfa.read_rdms("cube.mat"), np.moveaxis(any_cube, -1, 0))


def test_stacks_of_subjects_and_times_have_two_numbers(squares):
    np.savez("brain.npz", IT=np.stack([squares, squares + 1 - np.eye(5)]))
    stack = pfa.read_rdms("brain.npz")
    assert stack.columns.tolist() == ["name", "number_1", "number_2", "matrix", "entry_keys"]
    assert stack[["number_1", "number_2"]].to_numpy().tolist() == [
        list(place) for place in itertools.product(range(2), range(3))
    ]
    np.testing.assert_array_equal(stack["matrix"][4], squares[1] + 1 - np.eye(5))


def test_arrays_of_npz_are_rows_by_their_names(squares, triangles):
    np.savez("rdms.npz", conv1=squares[0], fc6=triangles[1], **{"layer 4/ü": squares[2]})
    stack = pfa.read_rdms("rdms.npz")
    assert stack["name"].tolist() == ["conv1", "fc6", "layer 4/ü"]
    assert_holds(stack, squares)
    np.savez("square.npz", squares[0])
    assert pfa.read_rdms("square.npz")["name"].tolist() == ["arr_0"]
    np.savez("vector.npz", triangles[0])
    assert_holds(pfa.read_rdms("vector.npz"), squares[:1])


def test_a_file_of_net2brain_is_a_row_with_its_layer_and_stimuli(squares, triangles, caplog):
    np.savez(
        "RDM_conv1.npz",
        rdm=triangles[0],
        stimuli_name=np.array(NAMES),
        layer_name=np.array("conv1"),
        meta=np.array({"distance": "pearson"}),
    )
    stack = pfa.read_rdms("RDM_conv1.npz")
    assert_holds(stack, squares[:1], NAMES)
    assert stack["layer_name"].tolist() == ["conv1"]
    assert stack["name"].tolist() == ["RDM_conv1"]
    assert "read without 'meta'" in caplog.text


def test_triangles_of_several_participants_with_names_of_stimuli_are_read(squares, triangles):
    # Meadows: one line a participant, names in an array of letters.
    scipy.io.savemat("meadows.mat", {"rdmutv": triangles, "stimuli": NAMES})
    stack = pfa.read_rdms("meadows.mat")
    assert_holds(stack, squares, NAMES)
    assert stack["number"].tolist() == [0, 1, 2]


def test_other_vectors_in_a_file_are_no_triangles_and_are_named(squares, caplog):
    np.savez("rdms.npz", rdm_of_it=squares[0], scores=np.arange(6.0), features=np.ones((5, 7)))
    assert pfa.read_rdms("rdms.npz")["name"].tolist() == ["rdm_of_it"]
    assert "read without 'scores' (6,) of float64, 'features' (5, 7) of float64" in caplog.text


def test_entry_keys_tell_triangles_from_squares(squares):
    # Six triangles of four entries are 6 x 6.
    flat = np.random.default_rng(0).random((6, 6))
    np.save("flat.npy", flat)
    assert_holds(pfa.read_rdms("flat.npy"), [flat], range(6))
    stack = pfa.read_rdms("flat.npy", entry_keys=list("abcd"))
    assert_holds(stack, [squareform(one) for one in flat], "abcd")
    with pytest.raises(ValueError, match=r"`entry_keys` has 7 names, and none is a matrix of"):
        pfa.read_rdms("flat.npy", entry_keys=list("abcdefg"))
    stack = pfa.read_rdms("flat.npy", entry_keys=[("a", k) for k in range(6)])
    assert stack["entry_keys"][0] == tuple(("a", k) for k in range(6))


def test_several_lists_of_names_are_refused(squares):
    np.savez("a.npz", rdm=squares[0], names=np.array(NAMES), others=np.array(list("abcde")))
    with pytest.raises(ValueError, match="several lists of 5 names, 'names', 'others'"):
        pfa.read_rdms("a.npz")
    assert_holds(pfa.read_rdms("a.npz", entry_keys=NAMES), squares[:1], NAMES)


@pytest.mark.parametrize("separator", [",", "\t"])
@pytest.mark.parametrize(("header", "index"), [*itertools.product([True, False], repeat=2)])
def test_a_square_table_is_a_row(separator, header, index, squares, folder):
    path = folder / ("alexnet.csv" if separator == "," else "alexnet.tsv")
    frame = pd.DataFrame(squares[1], index=NAMES, columns=NAMES)
    frame.to_csv(path, sep=separator, header=header, index=index)
    stack = pfa.read_rdms(path)
    assert_holds(stack, squares[1:2], NAMES if header or index else range(5))
    assert stack["name"].tolist() == ["alexnet"]


def test_a_square_table_whose_names_disagree_is_refused(squares):
    pd.DataFrame(squares[0], index=NAMES, columns=NAMES[::-1]).to_csv("a.csv")
    with pytest.raises(ValueError, match="several lists of 5 names"):
        pfa.read_rdms("a.csv")


def test_a_text_file_of_numpy_is_read(squares):
    np.savetxt("rdm.txt", squares[0])
    assert_holds(pfa.read_rdms("rdm.txt"), squares[:1])


def test_a_long_table_is_a_row_for_each_value_of_its_other_columns(squares, caplog):
    lines = [
        {"layer": layer, "item_1": NAMES[i], "item_2": NAMES[j], "value": squares[k][i, j]}
        for k, layer in enumerate(["conv1", "conv2", "fc"])
        for i, j in itertools.combinations(range(5), 2)
    ]
    pd.DataFrame(lines).to_csv("long.csv", index=False)
    stack = pfa.read_rdms("long.csv")
    assert_holds(stack, squares, NAMES)
    assert stack["layer"].tolist() == ["conv1", "conv2", "fc"]
    assert caplog.text == ""
    pd.DataFrame(lines[1:]).to_csv("gap.csv", index=False)
    lacking = pfa.read_rdms("gap.csv", where=("layer", "conv1"))["matrix"][0]
    assert np.isnan(lacking).sum() == 2
    assert "lacks 1 pairs of an RDM of 5 entries" in caplog.text
    pd.DataFrame([*lines, lines[0]]).to_csv("twice.csv", index=False)
    with pytest.raises(ValueError, match=r"pair 'face ü', 'hand' of one RDM twice, .* line 32"):
        pfa.read_rdms("twice.csv")
    both = pd.DataFrame([["a", "b", 1.0], ["b", "a", 2.0]], columns=["item_1", "item_2", "value"])
    both.to_csv("both.csv", index=False)
    np.testing.assert_array_equal(pfa.read_rdms("both.csv")["matrix"][0], [[0, 1], [2, 0]])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("item_1,item_2,rdm\na,b,1\n", "has the columns 'item_1', 'item_2', 'rdm'. One with"),
        ("item_1,item_2,value\na,b,x\n", "must have numbers in 'value', and has 'x' in line 2"),
        ("item_1,item_2,value\na\n", "does not name both items of the pair in line 2"),
        ("item_1,item_2,value\na,b,1,2\n", "cannot be read as a table"),
        ("a,b\nc,d\n", "is not a number"),
        ("a,b,c,d\n1,2,3,4\n5,6,7,8\n", r"holds no RDM.*an array \(2, 4\)"),
    ],
)
def test_bad_tables_are_named_with_what_is_wrong(text, message, folder):
    (folder / "a.csv").write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        pfa.read_rdms("a.csv")
    assert "'a.csv'" in str(caught.value)


def test_hdf5_files_of_others_are_read_by_their_datasets(squares, triangles):
    h5py = pytest.importorskip("h5py")
    with h5py.File("rdms.h5", "w") as file:
        file["model/conv1"] = squares[0]
        file["model/fc"] = triangles[1].astype(np.float32)
        file["stimuli"] = np.array(NAMES, dtype=h5py.string_dtype())
    stack = pfa.read_rdms("rdms.h5")
    assert stack["name"].tolist() == ["model/conv1", "model/fc"]
    assert_holds(stack, [squares[0], squareform(triangles[1].astype(np.float32))], NAMES)


def test_what_cannot_be_rdms_is_not_read_from_a_large_file(squares, monkeypatch):
    h5py = pytest.importorskip("h5py")
    with h5py.File("rdms.h5", "w") as file:
        file["rdm_a"] = squares[0]
        file.create_dataset("features", shape=(100_000, 50_000), dtype="f8", chunks=True)
    assert_holds(pfa.read_rdms("rdms.h5"), squares[:1])


@pytest.mark.parametrize("version", [3, 4])
def test_netcdf_files_of_others_are_read(version, squares):
    letters = np.array([name.encode() for name in NAMES])
    letters = letters.view("S1").reshape(5, -1)
    if version == 3:
        with scipy.io.netcdf_file("rdms.nc", "w") as file:
            for name, length in {"time": 3, "a": 5, "b": 5, "letter": letters.shape[1]}.items():
                file.createDimension(name, length)
            file.createVariable("dissimilarity", "d", ("time", "a", "b"))[:] = squares
            file.createVariable("a", "c", ("a", "letter"))[:] = letters
    else:
        h5py = pytest.importorskip("h5py")
        with h5py.File("rdms.nc", "w") as file:
            file["dissimilarity"] = squares
            file.create_dataset("a", data=NAMES, dtype=h5py.string_dtype())
    assert_holds(pfa.read_rdms("rdms.nc"), squares, NAMES)


def test_dicts_of_arrays_in_pickles_and_npy_files_are_read_without_running_code(squares, folder):
    rdms = {"conv1": squares[0], "fc": squares[1]}
    np.save("rdms.npy", rdms)
    pfa.pickle_dump(rdms, "rdms.pkl")
    for path in ("rdms.npy", "rdms.pkl"):
        stack = pfa.read_rdms(path, entry_keys=NAMES)
        assert stack["name"].tolist() == ["conv1", "fc"]
        assert_holds(stack, squares[:2], NAMES)

    class Trap:
        def __reduce__(self):
            return eval, ("open('trapped', 'w').close()",)

    np.save("trap.npy", np.array([Trap()], dtype=object))
    with pytest.raises(ValueError, match=r"asks for builtins\.eval"):
        pfa.read_rdms("trap.npy")
    np.savez("trap.npz", rdm=np.array([Trap()], dtype=object))
    with pytest.raises(ValueError, match=r"asks for builtins\.eval"):
        pfa.read_rdms("trap.npz")
    (folder / "rdms.pickle").write_bytes(pickle.dumps(pd.DataFrame({"a": [1]})))
    assert pfa.read_rdms("rdms.pickle").columns.tolist() == ["a"]


@pytest.mark.parametrize("suffix", ["npz", "mat", "h5", "nc", "pkl"])
def test_a_file_without_rdms_lists_what_is_in_it(suffix):
    arrays = {"features": np.ones((4, 7)), "scores": np.arange(5.0)}
    if suffix == "npz":
        np.savez("a.npz", **arrays)
    elif suffix == "mat":
        scipy.io.savemat("a.mat", {**arrays, "S": {"x": 1.0, "y": 2.0}})
    elif suffix == "pkl":
        pfa.pickle_dump(arrays, "a.pkl")
    elif suffix == "nc":
        with scipy.io.netcdf_file("a.nc", "w") as file:
            for name, array in arrays.items():
                axes = [f"{name}{k}" for k in range(array.ndim)]
                for axis, length in zip(axes, array.shape, strict=True):
                    file.createDimension(axis, length)
                file.createVariable(name, "d", axes)[:] = array
    else:
        h5py = pytest.importorskip("h5py")
        with h5py.File("a.h5", "w") as file:
            file.update(arrays)
    with pytest.raises(ValueError, match=rf"'a\.{suffix}' holds no RDM.*'features' \(4, 7\)"):
        pfa.read_rdms(f"a.{suffix}")


def test_how_many_items_have_so_many_pairs():
    # Oracle: counted.
    counted = {n * (n - 1) // 2: n for n in range(2, 200)}
    assert [_content._n_of_pairs(m) for m in range(5000)] == [
        counted.get(m, 0) for m in range(5000)
    ]
