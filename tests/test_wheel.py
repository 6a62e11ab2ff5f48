"""What users install: the wheel holds the package, and works where nothing else of it is."""

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from pytorch_feature_analysis import __version__

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "pytorch_feature_analysis"
# A few hundred files of source; weights or pictures that slip in would be above it.
LARGEST = 2_000_000

pytestmark = pytest.mark.slow


def run(*command, **options):
    # Nothing but what is installed is to be found.
    outside = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [*map(str, command)],
        capture_output=True,
        text=True,
        timeout=280,
        env=outside,
        check=False,
        **options,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built of a copy, so that nothing is left in the tree."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for name in ("setup.cfg", "pyproject.toml", "README.rst", "LICENSE"):
        (source / name).parent.mkdir(exist_ok=True)
        (source / name).write_bytes((ROOT / name).read_bytes())
    for path in PACKAGE.rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            copy = source / path.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    run(*pip, "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", folder, source)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory):
    """An environment with the wheel and what it needs, but without this checkout."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    variables = {"base": folder, "platbase": folder}
    packages = Path(sysconfig.get_path("purelib", scheme="venv", vars=variables))
    # A plain line adds the folder and runs none of the .pth files in it, such as that of the
    # editable install of this checkout.
    (packages / "needed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python)
    run(*pip, "install", "-q", "--no-deps", "--no-index", wheel)
    return folder


def test_the_wheel_holds_every_file_of_the_package_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    there = {
        path.relative_to(ROOT).as_posix()
        for path in PACKAGE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert held == there
    assert wheel.stat().st_size < LARGEST


def test_the_wheel_says_what_it_is(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("/METADATA")]
        metadata = archive.read(name).decode()
    for line in (f"Version: {__version__}", "License-Expression: MIT", "License-File: LICENSE"):
        assert line in metadata.splitlines()
    # What is shown of it in an index of packages.
    assert "Representational similarity analysis" in metadata
    assert (ROOT / "README.rst").read_text(encoding="utf-8").splitlines()[0] in metadata


def test_the_demo_runs_from_the_wheel_alone(environment, tmp_path):
    python = environment / "bin" / "python"
    script = "import pytorch_feature_analysis as pfa; print(pfa.__file__)"
    found = Path(run(python, "-c", script, cwd=tmp_path).strip())
    assert found.is_relative_to(environment)
    said = run(environment / "bin" / "pfa", "demo", "--quiet", "--out", "made", cwd=tmp_path)
    assert "made" in said
    for name in ("rdms.parquet", "third_order.parquet", "mds_digits.png"):
        assert (tmp_path / "made" / name).stat().st_size > 0
