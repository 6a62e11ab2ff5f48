"""The table of a study's models: read from any form, and chosen from by rules."""

import copy
import json
from functools import partial

import numpy as np
import pandas as pd
import pytest

import pytorch_feature_analysis as pfa

STUDY_FIELDS = {
    "model_name": "OpenCLIP",
    "source": "custom",
    "model_parameters": {"variant": "RN50", "dataset": "openai"},
    "module_name": "visual",
    "objective": "Image-Text",
    "dataset": "WIT-400M",
    "dataset_class": "Large DS",
    "architecture_class": "Convolutional",
    "architecture": "ResNet",
    "embedding_dim": 1024,
    "alignment": None,
    "size": 102007137,
    "size_fmt": "102.0M",
    "size_class": "medium",
}
COUNTS = {"Supervised": 30, "Self-Supervised": 20, "Image-Text": 14}


@pytest.fixture
def study():
    """A made-up table of 64 models in the three objectives of the study."""
    objectives = [name for name, count in COUNTS.items() for _ in range(count)]
    mixed = np.random.default_rng(0).permutation(objectives)
    return {
        f"model_{k:02d}": STUDY_FIELDS | {"objective": str(objective), "size": 5 * 10**7 * (k % 9)}
        for k, objective in enumerate(mixed)
    }


def test_a_dict_by_model_has_its_keys_as_models():
    second = STUDY_FIELDS | {"model_parameters": {"variant": "ViT-B-16", "dataset": "openai"}}
    table = pfa.read_model_table({"rn50_openai": STUDY_FIELDS, "vit_openai": second})
    assert table["model"].tolist() == ["rn50_openai", "vit_openai"]
    assert table["model_name"].tolist() == ["OpenCLIP"] * 2
    assert table.loc[1, "parameters"] == {"variant": "ViT-B-16", "dataset": "openai"}
    assert table.columns.tolist() == [
        *["model", "model_name", "source", "parameters", "module", "objective"],
        *["training_dataset", "training_dataset_class", "architecture_class", "architecture"],
        *["embedding_dim", "alignment", "size", "size_fmt", "size_class"],
    ]
    assert table["embedding_dim"].dtype.kind == "i"


def test_all_forms_of_one_table_are_read_alike(tmp_path, study):
    expected = pfa.read_model_table(study)
    path = tmp_path / "models.json"
    path.write_text(json.dumps(study))
    records = [{"model": name, **fields} for name, fields in study.items()]
    (tmp_path / "records.json").write_text(json.dumps(records))
    frame = pd.DataFrame(study).T
    frame.to_csv(tmp_path / "printed.csv")  # with parameters as Python prints them
    frame.rename_axis("index").to_csv(tmp_path / "index.csv")
    texts = frame.assign(model_parameters=frame["model_parameters"].map(json.dumps))
    texts.reset_index(names="model").to_csv(tmp_path / "json.csv", index=False)
    expected.to_csv(tmp_path / "ours.csv")
    for form in [
        path,
        str(path),
        tmp_path / "records.json",
        records,
        frame,
        expected,
        *sorted(tmp_path.glob("*.csv")),
    ]:
        read = pfa.read_model_table(form)
        assert read.columns.tolist() == expected.columns.tolist()
        # A column of missing values alone has no type that CSV could keep.
        pd.testing.assert_frame_equal(
            read.drop(columns="alignment"), expected.drop(columns="alignment"), check_dtype=False
        )
        assert read["alignment"].isna().all()


@pytest.mark.parametrize("key", ["model", "name", "model_name"])
def test_the_models_are_named_by_any_of_three_columns(key):
    frame = pd.DataFrame({"objective": ["a", "b"], key: ["vgg16", "resnet50"]})
    kept = frame.copy()
    table = pfa.read_model_table(frame)
    assert table.columns.tolist() == ["model", "objective"]
    assert table["model"].tolist() == ["vgg16", "resnet50"]
    pd.testing.assert_frame_equal(frame, kept)


def test_a_column_model_comes_before_the_other_names():
    frame = pd.DataFrame(
        {"model_name": ["a", "a"], "name": ["b", "c"], "model": ["d", "e"]}, index=["f", "g"]
    )
    assert pfa.read_model_table(frame)["model"].tolist() == ["d", "e"]
    assert pfa.read_model_table(frame).index.tolist() == [0, 1]
    table = pfa.read_model_table(frame.drop(columns="model"))
    assert table["model"].tolist() == ["f", "g"]
    table = pfa.read_model_table(frame.drop(columns="model").reset_index(drop=True))
    assert table["model"].tolist() == ["b", "c"]
    assert table["model_name"].tolist() == ["a", "a"]


def test_what_is_read_twice_stays_the_same(study):
    once = pfa.read_model_table(study)
    pd.testing.assert_frame_equal(pfa.read_model_table(once), once)


def test_inputs_are_not_changed(study):
    kept = copy.deepcopy(study)
    frame = pd.DataFrame(study).T
    kept_frame = frame.copy()
    pfa.read_model_table(study)
    pfa.read_model_table(frame)
    pfa.select_models(frame, [("+", "objective", "Supervised")])
    assert study == kept
    pd.testing.assert_frame_equal(frame, kept_frame)


def test_columns_of_ones_own_names_are_kept_beside_aliases():
    frame = pd.DataFrame({"model": ["a"], "dataset": ["x"], "training_dataset": ["y"]})
    assert pfa.read_model_table(frame).columns.tolist() == frame.columns.tolist()


def test_size_classes_are_filled_in_from_the_number_of_parameters():
    sizes = [0, 99_999_999, 100e6, 299_999_999, 300e6, 399_999_999, 400e6, 2e9, None]
    frame = pd.DataFrame({"model": list("abcdefghi"), "size": sizes})
    classes = pfa.read_model_table(frame)["size_class"]
    assert classes[:8].tolist() == [
        *["small", "small", "medium", "medium", "large", "large", "xlarge", "xlarge"]
    ]
    assert classes.isna().tolist() == [False] * 8 + [True]
    assert "size_class" not in pfa.read_model_table(frame[["model"]])


def test_size_classes_that_are_there_are_kept():
    frame = pd.DataFrame({"model": ["a", "b"], "size": [1, 5e8], "size_class": ["tiny", None]})
    assert pfa.read_model_table(frame)["size_class"].tolist() == ["tiny", "xlarge"]


def test_a_csv_file_keeps_words_that_look_like_missing_values(tmp_path):
    path = tmp_path / "models.CSV"
    path.write_text("name,objective,size\n007,None,\nnull,NA,5\n")
    table = pfa.read_model_table(path)
    assert table["model"].tolist() == ["007", "null"]
    assert table["objective"].tolist() == ["None", "NA"]
    assert table["size_class"].isna().tolist() == [True, False]


@pytest.mark.parametrize(
    ("table", "error", "match"),
    [
        (
            pd.DataFrame({"models": ["a"]}),
            ValueError,
            "no column 'model'. Its columns are: mode",
        ),
        (pd.DataFrame({"model": ["a", "b", "a"]}), ValueError, "several rows of the model 'a'"),
        ([{"model_name": "OpenCLIP"}] * 2, ValueError, "tell them apart in a column 'model'"),
        (pd.DataFrame({"model": ["a", None]}), TypeError, "each model by a text, but row 1 has"),
        (pd.DataFrame({"model": [7]}), TypeError, "each model by a text, but row 0 has 7"),
        (pd.DataFrame({"model": ["a", ""]}), TypeError, "row 1 has ''"),
        (pd.DataFrame({"model": []}), ValueError, "holds no model"),
        (pd.DataFrame([["a", "b"]], columns=["model"] * 2), ValueError, "several columns 'model'"),
        ({"a": {"size": "25M"}}, TypeError, "the size of model 'a' as its number .*, not '25M'"),
        ({"a": {"size": True}}, TypeError, "the size of model 'a' as its number .*, not True"),
        ({"a": {"size": -1}}, TypeError, "the size of model 'a' as its number .*, not -1"),
        ({"a": "vgg16"}, TypeError, "the fields of model 'a' as an object, not 'vgg16'"),
        (
            {"a": {"model": "b"}},
            ValueError,
            "model 'a' with another name in its field 'model'",
        ),
        (["vgg16"], TypeError, "a list of records, not"),
        (7, TypeError, "a list of records, not 7"),
        ("models.xlsx", ValueError, "ends in .json or .csv, not 'models.xlsx'"),
    ],
)
def test_what_is_no_table_of_models_is_refused(table, error, match):
    with pytest.raises(error, match=match):
        pfa.read_model_table(table)


def test_each_function_calls_the_table_by_its_own_name():
    for call in (pfa.read_model_table, partial(pfa.select_models, criteria=[]), pfa.table_models):
        argument = "path_or_frame" if call is pfa.read_model_table else "table"
        for wrong in (3, "models.txt", pd.DataFrame({"size": [1]}), []):
            with pytest.raises((ValueError, TypeError), match=f"`{argument}`"):
                call(wrong)


def test_damaged_files_are_refused(tmp_path):
    path = tmp_path / "models.json"
    path.write_text('{"vgg16": {}, "vgg16": {}}')
    with pytest.raises(ValueError, match=r"models.json' cannot .* 'vgg16' stands in it twice"):
        pfa.read_model_table(path)
    path.write_text("{")
    with pytest.raises(ValueError, match="Choose another `path_or_frame`, or mend the file"):
        pfa.read_model_table(path)
    path = tmp_path / "models.csv"
    path.write_text("")
    with pytest.raises(ValueError, match="cannot be read as a CSV file"):
        pfa.read_model_table(path)
    path.write_text("model,parameters\nvgg16,__import__('os')\n")
    with pytest.raises(ValueError, match=r"as an object, .*, not \"__import__\('os'\)\""):
        pfa.read_model_table(path)
    with pytest.raises(FileNotFoundError):
        pfa.read_model_table(tmp_path / "nowhere.json")


def test_the_objectives_of_the_study_have_its_numbers_of_models(study):
    for objective, count in COUNTS.items():
        assert len(pfa.select_models(study, [("+", "objective", objective)])) == count
    assert len(pfa.select_models(study, [("+", "objective", list(COUNTS))])) == 64


def rules_by_hand(study, criteria):
    """Oracle: sets of names."""
    chosen = set()
    for op, column, values in criteria:
        values = values if isinstance(values, list) else [values]
        found = {
            name
            for name, fields in study.items()
            if (name if column == "index" else fields[column]) in values
        }
        chosen = chosen | found if op == "+" else chosen - found
    return [name for name in study if name in chosen]


CRITERIA = [
    [("+", "objective", "Image-Text"), ("+", "index", "model_00")],
    [("+", "objective", ["Image-Text", "Supervised"]), ("-", "index", ["model_03", "model_17"])],
    [("+", "dataset_class", "Large DS"), ("-", "objective", "Supervised")],
    [("+", "objective", "Supervised"), ("-", "size", 0), ("+", "index", "model_09")],
    [("+", "index", ["model_40", "model_02"]), ["+", "objective", "Self-Supervised"]],
]


@pytest.mark.parametrize("criteria", CRITERIA)
def test_rules_are_the_algebra_of_sets_in_the_order_of_the_table(study, criteria):
    selected = pfa.select_models(study, criteria)
    assert selected["model"].tolist() == rules_by_hand(study, criteria)
    assert selected.index.tolist() == list(range(len(selected)))


def test_the_order_of_rules_matters(study):
    rules = [("+", "size", 0), ("-", "objective", "Supervised")]
    forward = pfa.select_models(study, rules)
    backward = pfa.select_models(study, rules[::-1])
    assert set(forward["objective"]) == {"Self-Supervised", "Image-Text"}
    assert set(backward["objective"]) == set(COUNTS)


def test_a_rule_may_stand_without_its_list(study):
    rule = ("+", "objective", "Image-Text")
    pd.testing.assert_frame_equal(pfa.select_models(study, rule), pfa.select_models(study, [rule]))


def test_values_are_equal_as_in_python_and_none_finds_missing_ones():
    frame = pd.DataFrame(
        {
            "model": ["a", "b", "c"],
            "year": [2020.0, np.nan, 2021.0],
            "parameters": [{"weights": "DEFAULT"}, None, {}],
        }
    )
    for column, value, expected in [
        ("year", 2020, ["a"]),
        ("year", [np.int64(2021), None], ["b", "c"]),
        ("year", np.nan, ["b"]),
        ("year", np.array([2020, 2021]), ["a", "c"]),
        ("model_parameters", {"weights": "DEFAULT"}, ["a"]),
    ]:
        assert pfa.select_models(frame, [("+", column, value)])["model"].tolist() == expected


def test_a_rule_that_changes_nothing_is_logged(study, caplog):
    rules = [("-", "objective", "Supervised"), ("+", "objective", "Image-Text")]
    pfa.select_models(study, rules)
    (message,) = caplog.messages
    assert message.startswith("the rule ('-', 'objective', 'Supervised') of `criteria` ch")


@pytest.mark.parametrize(
    ("criteria", "error", "match"),
    [
        ([("+", "objectiv", "x")], ValueError, "'objectiv', .* not a column of `table`. Did"),
        ([("+", "objectiv", "x")], ValueError, "There are: model, model_name, source, "),
        ([("+", "objective", "image-text")], ValueError, "Did you mean 'Image-Text'"),
        ([("+", "objective", "x")], ValueError, "'x', which is not a value of col"),
        ([("+", "dataset", "x")], ValueError, "'training_dataset'. There is: WIT-400M."),
        ([("+", "index", "model_99")], ValueError, "not a value of column 'model'"),
        ([("+", "objective", [])], ValueError, "a rule without a value, which selects nothing"),
        ([("+", "objective", "Supervised"), ("-", "objective", "Supervised")], ValueError,
         "`criteria` leave no model"),
        ([("-", "objective", "Supervised")], ValueError, "`criteria` leave no model"),
        ([], ValueError, "`criteria` is empty"),
        ([("*", "objective", "Supervised")], ValueError, r"with '\+' or '-', not '\*'"),
        ([("+", "objective")], TypeError, r"must hold rules \(op, column, value\)"),
        (["+objective"], TypeError, "must hold rules"),
        ("+", TypeError, "`criteria` must be a list of rules"),
    ],
)  # fmt: skip
def test_rules_that_make_no_sense_are_refused(study, criteria, error, match):
    with pytest.raises(error, match=match):
        pfa.select_models(study, criteria)
