"""Runs that are killed at random moments end, when they are made again, as if nothing had been."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.mark.slow
def test_runs_that_are_killed_and_made_again_end_with_the_same_bits():
    # The script holds every run against one that was left alone; `make bench` makes twenty.
    command = [sys.executable, BENCHMARKS / "killed_and_resumed.py", "4"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    assert len(re.findall(r"4\.00 >= 4  holds", done.stdout)) == 2, done.stdout
