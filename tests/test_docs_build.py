"""The documentation is built without a warning, and every public name has its page."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import pytest
from made_pages import pages_in

import pytorch_feature_analysis as pfa

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.slow


def copy_sources(folder):
    """Copy what the pages are made of, but what an earlier build left."""
    made = shutil.ignore_patterns("_build", "api", "tutorials", "__pycache__")
    shutil.copytree(ROOT / "docs", folder / "docs", ignore=made)
    shutil.copytree(ROOT / "tutorials", folder / "tutorials")
    for path in ROOT.glob("*.rst"):
        shutil.copy(path, folder)


def build(folder):
    """Build the pages of a copy, without running the tutorials; what Sphinx says."""
    command = [sys.executable, "-m", "sphinx", "-q", "--fail-on-warning", "--keep-going"]
    done = subprocess.run(
        [*command, "-D", "plot_gallery=0", "docs", "html"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


@pytest.fixture(scope="module")
def html(tmp_path_factory):
    """Folder of the built pages."""
    folder = tmp_path_factory.mktemp("pages")
    copy_sources(folder)
    code, said = build(folder)
    assert (code, said) == (0, "")
    return folder / "html"


def test_every_public_name_has_a_page_that_describes_it(html):
    for name in pfa.__all__:
        page = (html / "api" / f"{name}.html").read_text(encoding="utf-8")
        assert f'id="{pfa.__name__}.{name}"' in page, name


def test_every_page_and_tutorial_is_there(html):
    names = [page.relative_to(ROOT / "docs").with_suffix("") for page in pages_in(ROOT / "docs")]
    names += [Path("tutorials", path.stem) for path in (ROOT / "tutorials").glob("*.py")]
    assert [name for name in names if not Path(html, f"{name}.html").is_file()] == []


def test_links_within_the_pages_lead_somewhere(html):
    pages = [page for page in html.rglob("*.html") if "_static" not in page.parts]
    assert len(pages) > len(pfa.__all__)
    for page in pages:
        text = page.read_text(encoding="utf-8")
        for link in re.findall(r'(?:href|src)="([^"#?]+)[^"]*"', text):
            if re.match(r"[a-z]+:", link):
                continue
            assert (page.parent / unquote(link)).exists(), f"{page.relative_to(html)}: {link}"


def test_names_that_a_page_mentions_are_links_to_the_api(html):
    page = (html / "tutorials" / "01_from_images_to_meta_rdms.html").read_text(encoding="utf-8")
    assert 'href="../api/get_rdms.html' in page
    page = (html / "api" / "get_meta_rdms.html").read_text(encoding="utf-8")
    assert 'href="write_rdms.html' in page
    # The other way round: the tutorials that use a function.
    assert 'href="../tutorials/01_from_images_to_meta_rdms.html' in page


def test_references_are_lists(html):
    page = (html / "api" / "hsic.html").read_text(encoding="utf-8")
    assert len(re.findall(r"<li><p>(?:Gretton|Song|Székely)", page)) == 3


def test_the_groups_of_the_api_hold_every_public_name_once():
    spec = importlib.util.spec_from_file_location("api_pages", ROOT / "docs" / "api_pages.py")
    api_pages = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(api_pages)
    names = [name for group in api_pages.groups().values() for name in group]
    assert sorted(names) == list(pfa.__all__)
    assert len(api_pages.groups()) > 10
    assert all(api_pages.summary(name).endswith(".") for name in names)
