"""How Sphinx makes these pages: `make docs`, or without running the tutorials `make docs-quick`.

Two kinds of pages are made before any is read, and are not under version control: those of the
API (`api_pages.py`) and of the tutorials (sphinx-gallery). No network is needed.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from sphinx.application import Sphinx

import pytorch_feature_analysis as pfa

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import api_pages  # noqa: E402 - it is found beside this file

project = pfa.__name__
author = "pytorch_feature_analysis developers"
version = release = pfa.__version__
project_copyright = author

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.viewcode",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
    "public_names",
]
exclude_patterns = ["_build", "**/sg_execution_times.rst", "sg_execution_times.rst"]
# `name` in a docstring is a link where there is such a name, and code where there is not.
default_role = "py:obj"
rst_prolog = f".. currentmodule:: {pfa.__name__}\n"

# In docstrings 'pearson' is a value, and stays as it is typed; what is shown is output.
smartquotes = False
highlight_language = "none"

# Types are told in Parameters, where there is room for what they mean.
autodoc_typehints = "none"
python_maximum_signature_line_length = 80
add_module_names = False
numpydoc_show_class_members = False
numpydoc_validation_checks = {
    "all",
    "ES01",  # a summary may say it all
    "PR04",  # `a, b : array` gives both their type
    "PR07",  # and their description
    "PR08",  # which may begin with a name in lower case
    "RT04",
    "SA01",  # most functions stand alone
    "SA03",
    "SS05",  # 'Mean of ...' is a summary too
}
numpydoc_validation_exclude = {r"\.PermutationTest\b"}  # its fields are described one by one

html_theme = "pydata_sphinx_theme"
html_title = "pytorch_feature_analysis"
html_logo = html_favicon = "_static/logo.svg"
html_static_path = ["_static"]
html_css_files = ["style.css"]
html_show_sourcelink = False
html_copy_source = False
# Pages without others below them need no list of these.
ALONE = {path.stem for path in HERE.glob("*.rst")} - {"how_to", "migrating"}
html_sidebars = {name: [] for name in ALONE}
html_theme_options = {
    "logo": {"text": html_title},
    "header_links_before_dropdown": 7,
    "navigation_with_keys": False,
    "pygments_light_style": "tango",
    "pygments_dark_style": "github-dark",
    "show_prev_next": False,
    "footer_start": ["copyright"],
    "footer_end": [],
    "secondary_sidebar_items": ["page-toc"],
}

# The gallery runs a tutorial where it lies. These copies may write beside themselves, and begin
# without what an earlier run left.
TUTORIALS = HERE / "_build" / "tutorials"
shutil.rmtree(TUTORIALS, ignore_errors=True)
TUTORIALS.mkdir(parents=True)
for path in (HERE.parent / "tutorials").glob("*.*"):
    shutil.copy2(path, TUTORIALS)

sphinx_gallery_conf = {
    "examples_dirs": str(TUTORIALS),
    "gallery_dirs": "tutorials",
    "filename_pattern": r"[\\/]\d\d_",
    "within_subsection_order": "FileNameSortKey",
    "image_scrapers": "saved_figures.scrape",
    "reset_modules": (),
    "capture_repr": (),
    "doc_module": (pfa.__name__,),
    "backreferences_dir": "tutorials/uses",
    "thumbnail_size": (560, 392),
    "remove_config_comments": True,
    "show_signature": False,
    "abort_on_example_error": True,
    "copyfile_regex": "",
    "download_all_examples": False,
    "nested_sections": False,
    "plot_gallery": "True",
}


def setup(app: Sphinx) -> None:
    """Write the pages of the API before any page is read."""
    app.connect("builder-inited", lambda app: api_pages.write(Path(app.srcdir, "api")), 1)
