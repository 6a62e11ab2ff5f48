"""Runs that are killed at every moment, and runs that write to one file at once.

A script of its own, run by `test_store.py`, since it forks: all that reads or writes stacks does
so in forked processes, and this one starts no threads. It ends with an error where a row is lost,
and prints how many moments or rounds it went through.
"""

import os
import random
import shutil
import signal
import sys
import time
import traceback
import warnings
from pathlib import Path

import pyarrow.parquet  # noqa: F401 - here, and not anew in each process
from made_parts import keys_of, rows_of, same_rows, stacked

import pytorch_feature_analysis as pfa
from pytorch_feature_analysis import store
from pytorch_feature_analysis.store import RunStore

CHANGES_DISK = ["replace", "rename", "unlink", "rmdir", "mkdir", "ftruncate", "fsync"]

OTHER = rows_of("other")
OLD = rows_of("a", weights="w0")
EARLIER = [rows_of("earlier"), rows_of("a", weights="w-1")]
UNITS = [rows_of("a"), rows_of("b", n_layers=1)]


def in_a_process(func, *args):
    """Run in a forked process, without waiting; its exit code is 0 when nothing was raised."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        func(*args)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def end_of(pid):
    """Wait for a process; its exit code, or minus the signal that killed it."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def killed_before_step(number, func, *args):
    """Call `func` in this process, and kill it without warning before its n-th change on disk."""
    steps = 0

    def watched(original):
        def call(*args, **kwargs):
            nonlocal steps
            steps += 1
            if steps == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*args, **kwargs)

        return call

    for name in CHANGES_DISK:
        setattr(os, name, watched(getattr(os, name)))
    func(*args)


def run(out, append=True, told=None, units=UNITS):
    """What `get_rdms` does: what is not finished is made and kept, and the whole is merged."""
    warnings.simplefilter("ignore")
    runs = RunStore.open(out, append=append)
    finished = set() if runs.finished is None else set(keys_of(runs.finished))
    for number, unit in enumerate(units):
        if not finished.issuperset(keys_of(unit)):
            runs.keep(unit)
        if told is not None:
            os.write(told, bytes([number]))
    runs.merge(stacked(*units))


def fill(out, parts):
    RunStore.open(out, append=True).merge(stacked(OTHER, OLD))
    for part in parts:
        RunStore.open(out, append=True).keep(part)


def everything(folder):
    """All rows on disk, under whatever name, once each and without regard to provenance."""
    found = set()
    for path in folder.rglob("*"):
        is_stack = path.suffix in (".parquet", ".p") and ".provenance." not in path.name
        if path.is_file() and is_stack and path.stat().st_size and path.name[0] != ".":
            found.update(contents(pfa.read_rdms(path)))
    return found


def contents(rows):
    return {
        (model, layer, kind, matrix.tobytes())
        for model, layer, kind, matrix in zip(
            rows["model"], rows["layer"], rows["activation_type"], rows["matrix"], strict=True
        )
    }


def check_after_kill(out, kept):
    finished = RunStore.open(out, append=True).finished
    keys = [] if finished is None else keys_of(finished)
    assert None not in keys, "rows without a key"
    assert len(set(keys)) == len(keys), "doubles"
    for unit in UNITS[:kept]:
        mine = finished[finished["row_key"].isin(keys_of(unit))]
        assert same_rows(mine, unit), f"a kept unit of {unit['model'][0]} is not found"
    return keys


def check_new(out, kept):
    check_after_kill(out, kept)
    run(out)
    assert same_rows(pfa.read_rdms(out, provenance=True), stacked(*UNITS))
    assert left_in(out.parent) <= {out.name, f"{out.name}.provenance.parquet"}


def check_resumed(out, kept):
    keys = check_after_kill(out, kept)
    assert set(keys_of(OTHER)) <= set(keys)
    aside = out.with_name(f"{out.name}.superseded.parquet")
    if not set(keys_of(OLD)) <= set(keys):
        assert same_rows(pfa.read_rdms(aside, provenance=True), OLD)
    run(out)
    assert same_rows(pfa.read_rdms(out, provenance=True), stacked(OTHER, *UNITS))
    assert same_rows(pfa.read_rdms(aside, provenance=True), OLD)
    # Parts of an earlier call that this one has no part in.
    assert set(keys_of(RunStore.open(out, append=True).finished)) >= set(keys_of(EARLIER[0]))
    stay = {out.name, f"{out.name}.provenance.parquet", f"{out.name}.parts", aside.name}
    assert left_in(out.parent) <= stay


def check_without_append(out, kept):
    check_after_kill(out, kept)
    wanted = contents(stacked(OTHER, OLD, *EARLIER, *UNITS[:kept]))
    assert wanted <= everything(out.parent)
    run(out, append=False)
    assert same_rows(pfa.read_rdms(out, provenance=True), stacked(*UNITS))
    assert wanted <= everything(out.parent)
    assert not out.with_name(f"{out.name}.parts").exists()


def left_in(folder):
    return {item.name for item in folder.iterdir()}


SCENARIOS = {
    "new": (check_new, None, True),
    "resumed": (check_resumed, EARLIER[:1], True),
    "without append": (check_without_append, EARLIER, False),
}


def kill_at_every_step(folder, suffix, scenario):
    # What a killed call left beside the file is swept at once, and not only after an hour.
    store._DEAD_SECONDS = -1
    check, parts, append = SCENARIOS[scenario]
    before = folder / scenario / "before"
    before.mkdir(parents=True)
    if parts is not None:
        assert end_of(in_a_process(fill, before / f"rdms{suffix}", parts)) == 0
    number, code = 0, None
    while code != 0:
        number += 1
        out = folder / scenario / str(number) / f"rdms{suffix}"
        shutil.copytree(before, out.parent)
        heard, told = os.pipe()
        code = end_of(in_a_process(killed_before_step, number, run, out, append, told))
        os.close(told)
        kept = len(os.read(heard, 100))
        os.close(heard)
        assert code in (0, -9), code
        if end_of(in_a_process(check, out, kept)):
            sys.exit(f"{scenario}: killed before step {number}, after {kept} units: {out}")
    return number - 1


def run_slowly(out, units, seed):
    chance = random.Random(seed)
    keep = RunStore.keep

    def keep_slowly(self, rows):
        time.sleep(chance.random() / 50)
        keep(self, rows)

    RunStore.keep = keep_slowly
    run(out, units=units)


def check_union(out, *lists):
    expected = {key for units in lists for unit in units for key in keys_of(unit)}
    found = pfa.read_rdms(out, provenance=True)
    assert len(found) == len(expected)
    assert set(keys_of(found)) == expected
    assert left_in(out.parent) <= {out.name, f"{out.name}.provenance.parquet"}


def check_both_versions(out, *lists):
    """Rows of the same names and other keys: one version is in the file, the other aside."""
    aside = pfa.read_rdms(out.with_name(f"{out.name}.superseded.parquet"), provenance=True)
    found = pfa.read_rdms(out, provenance=True)
    expected = {key for units in lists for unit in units for key in keys_of(unit)}
    assert set(keys_of(found)) | set(keys_of(aside)) == expected
    assert len(found) * 2 == len(expected)
    assert len(set(keys_of(aside))) == len(aside)


def write_at_once(folder, suffix, rounds):
    """Two runs that write the same rows, other rows, rows of both; then versions of the same."""
    same = [rows_of(f"m{k}", n_layers=1) for k in range(3)]
    other = [rows_of(f"n{k}", n_layers=1) for k in range(3)]
    changed = [rows_of(f"m{k}", n_layers=1, weights="w2") for k in range(3)]
    pairs = [
        (same, same, check_union),
        (same, other, check_union),
        (same, [*other, *same[::-1]], check_union),
        (same, changed, check_both_versions),
    ]
    for number in range(rounds):
        out = folder / f"round{number}" / f"rdms{suffix}"
        out.parent.mkdir()
        one, two, check = pairs[number % len(pairs)]
        pids = [
            in_a_process(run_slowly, out, units, 2 * number + k)
            for k, units in enumerate((one, two))
        ]
        assert [end_of(pid) for pid in pids] == [0, 0], number
        assert end_of(in_a_process(check, out, one, two)) == 0, (number, left_in(out.parent))
    return rounds


if __name__ == "__main__":
    target, suffix, task = sys.argv[1:]
    if task == "killed":
        counts = [kill_at_every_step(Path(target), suffix, scenario) for scenario in SCENARIOS]
    else:
        counts = [write_at_once(Path(target), suffix, rounds=8)]
    sys.stdout.write(" ".join(map(str, counts)))
