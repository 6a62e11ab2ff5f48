"""Which steps of a study are done: what each reads and writes, and what it was made of."""

from __future__ import annotations

import json
import os
from pathlib import Path

from pytorch_feature_analysis._files import atomic_write
from pytorch_feature_analysis.fingerprints import fingerprint
from pytorch_feature_analysis.study_file import Study, splits_of

_MADE = "study_made.json"
OUTPUTS = {
    "features": ("features",),
    "similarity": ("similarity.parquet",),
    "consistency": ("consistency.csv", "consistency_rdms.parquet", "consistency_tests.csv"),
    "probes": ("probes.csv",),
    "performance": ("performance.csv",),
}
"""By step what it writes, in the order of the steps."""
INPUTS = {
    "features": (),
    "similarity": ("features",),
    "consistency": ("similarity",),
    "probes": ("features",),
    "performance": ("similarity", "probes"),
}
"""By step the steps whose results it reads."""


def key_of(study: Study, step: str) -> str:
    """Return a digest of all that a step's results depend on: its settings, and what it reads."""
    read = [
        (os.fspath(file.relative_to(study.out)), file.stat().st_size, file.stat().st_mtime_ns)
        for before in INPUTS[step]
        for name in OUTPUTS[before]
        for file in _files(study.out / name)
    ]
    # The store may have the features of others too.
    chosen = [study.model_names(), {name: [*splits_of(of)] for name, of in study.datasets.items()}]
    subsets = study.subsets() if step == "similarity" else {}
    positions = {name: file.read_text(encoding="utf-8") for name, file in subsets.items()}
    settings = json.dumps([study.options[step], chosen, positions], sort_keys=True, default=str)
    table = None if study.model_table is None else study.model_table.to_json()
    return fingerprint([settings, table, read])


def _files(path: Path) -> list[Path]:
    """Files of a result, without those that were superseded or left half-written."""
    if not path.is_dir():
        return [path] if path.is_file() else []
    found = sorted(path.rglob("*.npz"))
    return [file for file in found if file.name[0] != "." and ".superseded" not in file.name]


def is_done(study: Study, step: str, made: dict[str, str]) -> bool:
    """Tell whether the results are there, and are of these settings and inputs."""
    there = all((study.out / name).exists() for name in OUTPUTS[step])
    inputs = all((study.out / n).exists() for before in INPUTS[step] for n in OUTPUTS[before])
    return there and inputs and made.get(step) == key_of(study, step)


def read_made(study: Study) -> dict[str, str]:
    """Read by step the key of what was written; nothing where there is no such file."""
    file = study.out / _MADE
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}


def note_made(study: Study, step: str, key: str) -> None:
    """Note that a step's results are written."""
    made = {**read_made(study), step: key}
    with atomic_write(study.out / _MADE) as temporary:
        temporary.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
