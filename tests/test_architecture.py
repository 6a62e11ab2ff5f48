"""Imports run downward only; what is slow to import waits until it is used; all is declared.

`LEVELS` is the one place that says where a module stands. A new module gets its line there.
"""

import ast
import configparser
import functools
import re
import sys
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = "pytorch_feature_analysis"

# From the bottom up; a module imports from the rows above its own, never from its own row.
# Numbers are the levels of the architecture, letters the steps within them. `__init__` is the
# public face: what stands below it uses the package as its users do.
LEVELS = {
    "0a": [
        *["_cells", "_checks", "_dask", "_image_decoding", "_locks", "_threads", "_unpickling"],
        *["_version", "cell_values", "name_patterns", "pattern_sources"],
    ],
    "0b": ["_files", "_parallel", "close_patterns", "dataframes", "matrices"],
    "0c": ["aggregation", "csv_files", "feature_files", "gram", "json_files", "pattern_rows"],
    "0d": ["probe_table"],
    "1a": [
        *["agreement", "checkpoints", "cornet_s", "decoding_folds", "dissimilarity"],
        "held_models",
        *["map_alignment", "nonmetric_mds"],
        "entry_subsets",
        *[
            "fingerprints",
            "image_checks",
            "image_folder",
            "images",
            "layers",
            "layouts",
            "missing_cells",
        ],
        "number_tables",
        *["probe_data", "probe_search", "selection", "similarity._inputs", "similarity._measure"],
        *["similarity.hsic", "stack_schema", "stimulus_subsets", "subset_search"],
        "noise_covariance",
    ],
    "1b": [
        *["activation_types", "architectures", "batches", "bounded_rdms", "crossvalidated"],
        "device_patterns",
        *["feature_sources", "mds", "pairwise_complete", "permuted_items", "preprocessing"],
        *["projection", "resampled_items"],
        *["similarity.cca", "similarity.cka", "similarity.components", "similarity.conv_samples"],
        *["similarity.dft_cca", "similarity.neighbors"],
        *["similarity.predictivity", "similarity.rdm_agreement", "similarity.shape"],
        *["subset_files", "subsets", "tsne", "umap_points"],
    ],
    "1c": ["embedding", "resampling", "selection_reports", "similarity", "target_subsets"],
    "2a": [
        *["array_files", "arrow_columns", "image_sets", "model_arguments", "model_table"],
        *["models", "pass_resources", "probe_training", "rdm_comparison", "rdm_stack", "stream"],
        "survey",
    ],
    "2b": [
        *["accumulation", "activation_schema", "activation_sources", "activations"],
        *["anova_design", "chosen_measures", "decoding_plan", "linkage"],
        *["model_sets", "planning"],
        *["probe_settings", "regroup", "stack_parquet", "stack_subset"],
        *["stimulus_names", "stimulus_rows"],
        *["table_models", "bridges._content", "bridges._descriptors", "bridges._layout"],
        *["bridges.csv_long", "map_coordinates"],
    ],
    "2c": [
        *["bridges.arrays", "bridges.hdf5", "bridges.mat", "bridges.netcdf"],
        "bridges.rsatoolbox",
        *["activation_groups", "anova_sums", "anova_tables", "decoding_table", "group_comparison"],
        *["measured_patterns", "meta_frame", "metric_words", "model_pairs", "rdm_jobs"],
        *["references", "stack_pickle"],
    ],
    "2d": [
        *[
            "bridges",
            "lineage_words",
            "linear_probe",
            "measured_noise",
            "measured_rdms",
            "rdm_plan",
        ],
        *["reference_fits", "stack_parts"],
    ],
    "2e": ["probe_rows", "rdm_units", "stack_files", "stack_lineage"],
    "2f": ["rdm_call", "rdm_forecast", "store"],
    "2g": ["decoding_run", "rdm_rows"],
    "3": [
        *["activation_files", "activation_frames", "anova", "comparisons", "decoding"],
        *["decoding_rdms", "feature_store", "features", "mean_rdms", "measure_comparison"],
        *["meta_rdms", "methods", "metric_comparison", "minibatch", "model_probes"],
        "model_rdms",
        *["noise_ceilings", "pattern_rdms", "permutation_tests", "probes", "rdm_regression"],
        "rdms",
        *["sample_sizes", "similarity_scores", "tolerance"],
    ],
    "4a": [
        *["consistency", "consistency_contrasts", "consistency_rdms", "similarity_tables"],
        *["disagreement", "fit_contrasts", "inference", "stimuli"],
    ],
    "4b": ["layer_studies", "pair_correlations", "performance_gaps"],
    "4c": ["performance"],
    "4d": ["study_file"],
    "4e": ["study_state"],
    "4f": ["study"],
    "5": ["plotting._fonts", "plotting._separation"],
    "5a": [
        *["plotting", "plotting._arguments", "plotting._arrangement", "plotting._dendrogram"],
        *["plotting._dots", "plotting._entry_names", "plotting._entry_order"],
        *["plotting._figure", "plotting._labels", "plotting._model_pairs", "plotting._pictures"],
    ],
    "5b": [
        *["plotting._highlights", "plotting._paper", "plotting._projected"],
        "plotting._rdm_panels",
    ],
    "5c": [
        *["plotting._matrix_cells", "plotting._point_map", "plotting._rdm_layout"],
        "plotting._side_marks",
    ],
    "5d": ["plotting._deep_map", "plotting._flat_map", "plotting._rdm_drawing"],
    "5e": ["plotting._map_looks"],
    "5f": [
        *["plotting.gaps", "plotting.heatmap", "plotting.layers", "plotting.mds"],
        *["plotting.mds_panels", "plotting.metrics", "plotting.model_map", "plotting.montage"],
        *["plotting.pairs", "plotting.rdm", "plotting.shepard", "plotting.stack_graph"],
        *["plotting.study", "plotting.table"],
    ],
    "6a": ["_explorer_data", "_explorer_page", "_explorer_pictures"],
    "6b": ["explorer", "report"],
    "6c": ["__init__"],
    "6d": ["demo_digits", "demo_figures"],
    "6e": ["demo"],
    "7a": ["_cli_arguments", "_cli_messages", "_cli_options"],
    "7b": ["_cli_entries"],
    "7c": [
        *["_cli_explore", "_cli_maps", "_cli_pick", "_cli_rdm", "_cli_report", "_cli_study"],
        "_cli_units",
    ],
    "7d": ["cli"],
    "7e": ["__main__"],
}

# Slow to import, or wanted by few: where each may be imported at all, and never at the top of a
# module that `import pytorch_feature_analysis` runs.
LAZY = {
    "bokeh": "6",
    "click": "7",
    "cloudpickle": "0",
    "distributed": "0",
    "h5py": "2",
    "matplotlib": "5",
    "mpl_toolkits": "5",
    "pyarrow": "0",
    "rsatoolbox": "2",
    "sklearn": "0",
    "tqdm": "0",
    "umap": "1",
}

# Levels 0 and 1 are about arrays, but for these, which are about networks.
KNOWS_NETWORKS = [
    *["activation_types", "architectures", "batches", "checkpoints", "cornet_s"],
    *["device_patterns", "feature_sources", "fingerprints", "held_models", "images", "layers"],
    "layouts",
    "preprocessing",
]


class Import(NamedTuple):
    """One imported name, where it stands, and whether importing the module runs it."""

    line: int
    name: str
    at_top: bool


@functools.cache
def read_imports(source):
    """All imports of a module's source, also inside functions; names are dotted and whole."""
    return tuple(_imports_of(ast.parse(source), at_top=True))


def _imports_of(node, *, at_top):
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield Import(child.lineno, alias.name, at_top)
        elif isinstance(child, ast.ImportFrom):
            module = "." * child.level + (child.module or "")
            for alias in child.names:
                yield Import(child.lineno, f"{module}.{alias.name}", at_top)
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from _imports_of(child, at_top=False)
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            for part in child.body:
                yield from _imports_of(ast.Module([part], []), at_top=False)
            for part in child.orelse:
                yield from _imports_of(ast.Module([part], []), at_top=at_top)
        else:
            yield from _imports_of(child, at_top=at_top)


def read_package(folder):
    """Source by dotted module name within the package, `plotting.mds`; a package by its own."""
    sources = {}
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)
        sources[name] = path.read_text(encoding="utf-8")
    return sources


def file_of(module, sources):
    """Path of a module in messages."""
    is_folder = any(name.startswith(f"{module}.") for name in sources)
    return f"{PACKAGE}/{module.replace('.', '/')}{'/__init__' if is_folder else ''}.py"


def target_of(name, modules):
    """Module of the package that an import names, or None for one from elsewhere."""
    if name != PACKAGE and not name.startswith(f"{PACKAGE}."):
        return None
    inner = name.removeprefix(PACKAGE).removeprefix(".")
    for candidate in (inner, inner.rpartition(".")[0]):
        if candidate in modules:
            return candidate
    return "__init__"


def level_of(levels):
    """From module to level, and to the place of that level from the bottom."""
    return {module: (level, i) for i, (level, row) in enumerate(levels.items()) for module in row}


def wrong_directions(sources, levels):
    """One sentence an import that does not run downward, or that hides where it goes."""
    place = level_of(levels)
    wrong = []
    for module, source in sources.items():
        for found in read_imports(source):
            where = f"{file_of(module, sources)}, line {found.line}"
            if found.name.startswith("."):
                wrong.append(f"{where}: write the import of {found.name!r} with its whole path")
                continue
            target = target_of(found.name, sources)
            if target is None or {module, target} - place.keys():
                continue
            (level, height), (target_level, target_height) = place[module], place[target]
            if target_height >= height:
                way = "sideways" if target_height == height else "upward"
                wrong.append(
                    f"{where}: {module} (level {level}) imports {target} (level {target_level}), "
                    f"which is {way}; imports run downward only. What both need goes down a level"
                )
    return list(dict.fromkeys(wrong))


def run_on_import(sources):
    """Modules that `import pytorch_feature_analysis` runs."""
    reached, waiting = set(), ["__init__"]
    while waiting:
        module = waiting.pop()
        if module in reached:
            continue
        reached.add(module)
        if "." in module:
            waiting.append(module.rpartition(".")[0])
        for found in read_imports(sources[module]):
            target = target_of(found.name, sources)
            if found.at_top and target is not None:
                waiting.append(target)
    return reached


def wrong_lazy_imports(sources, levels, lazy):
    """One sentence an import of a slow library that comes too early, or too far down."""
    place = level_of(levels)
    eager = run_on_import(sources)
    wrong = []
    for module, source in sources.items():
        level = place[module][0] if module in place else ""
        for found in read_imports(source):
            library = found.name.partition(".")[0]
            if library not in lazy:
                continue
            where = f"{file_of(module, sources)}, line {found.line}"
            if level and level[0] < lazy[library]:
                wrong.append(
                    f"{where}: {module} (level {level}) imports {library}, which belongs to "
                    f"level {lazy[library]} and above"
                )
            if found.at_top and module in eager:
                wrong.append(
                    f"{where}: {library} is imported at the top of {module}, which `import "
                    f"{PACKAGE}` runs; import it inside the function that uses it"
                )
    return wrong


def wrong_torch_imports(sources, levels, knows_networks):
    """One sentence an import of torch in a module of arrays."""
    place = level_of(levels)
    return [
        f"{file_of(module, sources)}, line {found.line}: {module} (level {place[module][0]}) "
        f"imports {found.name}, and is about arrays"
        for module, source in sources.items()
        if module in place and place[module][0] < "2" and module not in knows_networks
        for found in read_imports(source)
        if found.name.partition(".")[0] in ("torch", "torchvision")
    ]


@pytest.fixture(scope="module")
def sources():
    return read_package(ROOT / PACKAGE)


def test_every_module_has_one_level(sources):
    listed = [module for row in LEVELS.values() for module in row]
    assert sorted(sources.keys() - set(listed)) == [], "modules without a line in LEVELS"
    assert sorted(set(listed) - sources.keys()) == [], "lines in LEVELS without a module"
    assert len(listed) == len(set(listed))


def test_imports_run_downward_only(sources):
    wrong = wrong_directions(sources, LEVELS)
    assert not wrong, "\n".join(wrong)


def test_slow_libraries_are_imported_where_they_are_used(sources):
    wrong = wrong_lazy_imports(sources, LEVELS, LAZY)
    assert not wrong, "\n".join(wrong)


def test_modules_of_arrays_do_without_torch(sources):
    wrong = wrong_torch_imports(sources, LEVELS, KNOWS_NETWORKS)
    assert not wrong, "\n".join(wrong)


def test_every_library_that_is_imported_is_declared(sources):
    needed = {
        found.name.partition(".")[0]
        for source in sources.values()
        for found in read_imports(source)
    }
    extras = ["distributed", "hdf5", "interactive", "rsatoolbox", "umap"]
    assert _undeclared(needed, "install_requires", *extras) == []


def test_every_library_that_the_tests_import_is_declared():
    folders = [ROOT / "tests", ROOT / "benchmarks", ROOT / "tutorials"]
    needed = {
        found.name.partition(".")[0]
        for folder in folders
        for path in folder.glob("*.py")
        for found in read_imports(path.read_text(encoding="utf-8"))
    }
    local = {path.stem for folder in folders for path in folder.glob("*.py")}
    assert _undeclared(needed - local, "install_requires", "test") == []


@functools.cache
def distributions():
    """Names of installed distributions by the modules that they bring."""
    return packages_distributions()


def _undeclared(modules, *sections):
    """Distributions of imported modules that no named section of setup.cfg asks for."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    listed = {"install_requires": config["options"]["install_requires"]}
    listed |= config["options.extras_require"]
    declared = {
        re.split(r"[^\w.-]", line)[0].lower()
        for section in sections
        for line in listed[section].split()
    }
    known = distributions()
    return sorted(
        module
        for module in modules - {PACKAGE} - set(sys.stdlib_module_names)
        if not declared & {name.lower() for name in known.get(module, [module])}
    )


# What follows shows that the checks above can fail.

TOY_LEVELS = {"0a": ["low", "beside"], "1a": ["middle"], "5": ["figures"], "5b": ["__init__"]}


def toy(**changed):
    """A sound little package, and what is changed of it."""
    sound = {
        "low": "import numpy as np\n",
        "beside": "",
        "middle": f"from {PACKAGE}.low import f\nimport os\n",
        "figures": f"from {PACKAGE}.middle import f\n\n\ndef g():\n    import matplotlib as mpl\n",
        "__init__": f"from {PACKAGE}.figures import g\nfrom {PACKAGE}.low import f\n",
    }
    return sound | changed


def test_a_sound_package_passes_all_checks():
    assert wrong_directions(toy(), TOY_LEVELS) == []
    assert wrong_lazy_imports(toy(), TOY_LEVELS, LAZY) == []
    assert wrong_torch_imports(toy(), TOY_LEVELS, []) == []


@pytest.mark.parametrize(
    ("source", "line"),
    [
        (f"from {PACKAGE}.middle import f\n", 1),
        (f"import os\n\nfrom {PACKAGE} import middle\n", 3),
        (f"import {PACKAGE}.middle\n", 1),
        (f"def f():\n    from {PACKAGE}.middle import g\n", 2),
        (f"class A:\n    def f(self):\n        import {PACKAGE}.middle as m\n", 3),
        (f"if TYPE_CHECKING:\n    from {PACKAGE}.middle import f\n", 2),
        (f"try:\n    pass\nexcept OSError:\n    from {PACKAGE}.middle import f\n", 4),
    ],
)
def test_an_upward_import_is_named_with_its_file_and_line(source, line):
    (sentence,) = wrong_directions(toy(low=source), TOY_LEVELS)
    assert sentence.startswith(
        f"{PACKAGE}/low.py, line {line}: low (level 0a) imports middle (level 1a), which is upward"
    )


def test_a_sideways_import_is_named():
    (sentence,) = wrong_directions(toy(low=f"from {PACKAGE}.beside import f\n"), TOY_LEVELS)
    assert "low (level 0a) imports beside (level 0a), which is sideways" in sentence


def test_an_import_of_the_public_face_from_below_is_named():
    for source in (f"import {PACKAGE} as pfa\n", f"from {PACKAGE} import f\n"):
        (sentence,) = wrong_directions(toy(middle=source), TOY_LEVELS)
        assert "middle (level 1a) imports __init__ (level 5b), which is upward" in sentence


def test_a_relative_import_is_named():
    (sentence,) = wrong_directions(toy(middle="from .low import f\n"), TOY_LEVELS)
    assert sentence.endswith("middle.py, line 1: write the import of '.low.f' with its whole path")


def test_a_slow_library_is_named_where_it_stands_too_low_or_runs_too_early():
    inside = toy(low="def f():\n    import matplotlib\n")
    (sentence,) = wrong_lazy_imports(inside, TOY_LEVELS, LAZY)
    assert sentence.endswith(
        "low.py, line 2: low (level 0a) imports matplotlib, which belongs to level 5 and above"
    )

    (sentence,) = wrong_lazy_imports(toy(middle="import pyarrow.parquet\n"), TOY_LEVELS, LAZY)
    assert "middle.py, line 1: pyarrow is imported at the top of middle" in sentence

    figures = f"if TYPE_CHECKING:\n    import matplotlib\nfrom {PACKAGE}.middle import f\n"
    assert wrong_lazy_imports(toy(figures=figures), TOY_LEVELS, LAZY) == []
    (sentence,) = wrong_lazy_imports(toy(figures="from matplotlib import cm\n"), TOY_LEVELS, LAZY)
    assert "figures.py, line 1: matplotlib is imported at the top of figures" in sentence


def test_a_module_that_is_imported_late_may_import_slow_libraries_at_its_top():
    late = toy(figures="def g():\n    import matplotlib\n", artists="import matplotlib\n")
    levels = TOY_LEVELS | {"5": ["figures", "artists"]}
    assert wrong_lazy_imports(late, levels, LAZY) == []

    early = late | {"__init__": f"from {PACKAGE} import artists\n"}
    (sentence,) = wrong_lazy_imports(early, levels, LAZY)
    assert "matplotlib is imported at the top of artists" in sentence


def test_torch_in_a_module_of_arrays_is_named():
    (sentence,) = wrong_torch_imports(toy(low="from torch import nn\n"), TOY_LEVELS, [])
    assert sentence.endswith("line 1: low (level 0a) imports torch.nn, and is about arrays")
    assert wrong_torch_imports(toy(low="from torch import nn\n"), TOY_LEVELS, ["low"]) == []


def test_an_undeclared_library_is_found():
    assert _undeclared({"yaml_of_nowhere", "numpy", "PIL", "os"}, "install_requires") == [
        "yaml_of_nowhere"
    ]
    assert _undeclared({"pytest"}, "install_requires") == ["pytest"]
    assert _undeclared({"pytest"}, "install_requires", "test") == []
