"""``python -m pytorch_feature_analysis`` is the command ``pfa``."""

from __future__ import annotations

from pytorch_feature_analysis.cli import main

main(prog_name="pfa")
