"""The page of `explore` for 40 RDMs of 200 stimuli with photographs: size, time to write and open.

Opening is measured in a headless Chromium, from the call to when the page answers; beside it, a
page of one RDM of three entries, which is the library alone. It is not measured where there is no
Chromium.
"""

import shutil
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pandas as pd
from _photographs import write_photographs
from _ratios import state

import pytorch_feature_analysis as pfa

N_ROWS, N_STIMULI, N_OPENED = 40, 200, 5
MEGABYTES, SECONDS_TO_OPEN, SECONDS_TO_WRITE = 30, 3, 60
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
ARGUMENTS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]


def make_stack(n_rows: int, n_stimuli: int) -> pd.DataFrame:
    """Layers of a random network, each a little further from the input than the last."""
    rng = np.random.default_rng(0)
    patterns = rng.normal(size=(n_stimuli, 100))
    matrices = []
    for _ in range(n_rows):
        patterns = np.maximum(patterns @ rng.normal(size=(100, 100)) / 8, -0.5)
        matrices.append(pfa.compute_rdm(patterns, "corr"))
    keys = tuple((f"stimulus {k:03d}",) for k in range(n_stimuli))
    layers = [f"layer{k:02d}" for k in range(n_rows)]
    return pd.DataFrame({"layer": layers, "matrix": matrices, "entry_keys": [keys] * n_rows})


def seconds_to_open(pages: list[Path], browser_path: str) -> list[float]:
    """Median time of each page until it answers, in turns and each in a fresh context."""
    from playwright.sync_api import sync_playwright

    seconds: list[list[float]] = [[] for _ in pages]
    with sync_playwright() as playwright:
        browser: Any = playwright.chromium.launch(executable_path=browser_path, args=ARGUMENTS)
        for _ in range(N_OPENED):
            for found, page in zip(seconds, pages, strict=True):
                context = browser.new_context(viewport={"width": 1400, "height": 900})
                tab = context.new_page()
                start = time.perf_counter()
                tab.goto(page.as_uri())
                tab.wait_for_selector("html[data-ready]")
                found.append(time.perf_counter() - start)
                context.close()
        browser.close()
    return [median(found) for found in seconds]


def main() -> None:
    stack, least = make_stack(N_ROWS, N_STIMULI), make_stack(1, 3)
    held = True
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pictures = dict(
            zip(stack["entry_keys"].iloc[0], write_photographs(folder, N_STIMULI), strict=True)
        )
        start = time.perf_counter()
        page = pfa.explore(stack, pictures, folder / "page.html", progress=False)
        written = time.perf_counter() - start
        peer = pfa.explore(least, out_fname=folder / "peer.html", progress=False)
        size = page.stat().st_size
        bare = 4 * 4 / 3 * N_ROWS * N_STIMULI * (N_STIMULI - 1) / 2
        what = f"explore, {N_ROWS} RDMs of {N_STIMULI} stimuli with photographs"
        held &= state(
            f"{what}, size as a share of {MEGABYTES} MB",
            size / (MEGABYTES * 1e6),
            1,
            at_most=True,
            detail=f"{size / 1e6:.1f} MB, of which {bare / 1e6:.1f} are float32 pairs as text",
            stop=False,
        )
        held &= state(
            f"{what}, time to write as a share of {SECONDS_TO_WRITE} s",
            written / SECONDS_TO_WRITE,
            1,
            at_most=True,
            detail=f"{written:.1f} s",
            stop=False,
        )
        found = next(filter(None, map(shutil.which, BROWSERS)), None)
        if found is None:
            print(f"time to open: not measured, for none of {', '.join(BROWSERS)} is installed")
        else:
            opened, empty = seconds_to_open([page, peer], found)
            held &= state(
                f"{what}, time to open as a share of {SECONDS_TO_OPEN} s",
                opened / SECONDS_TO_OPEN,
                1,
                at_most=True,
                detail=f"{opened:.2f} s; {opened / empty:.1f} times that of three entries",
                stop=False,
            )
    raise SystemExit(not held)


if __name__ == "__main__":
    main()
