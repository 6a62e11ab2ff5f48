"""Runs that something befalls: bad files, full disks, other processes, images and networks that
change, networks that fail. Nothing finished is lost, computed twice, or served where it is stale.
"""

import errno
import logging
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from made_runs import TRANSFORM, Maps, assert_same_bits, image_set, pictures, watched_passes
from made_stacks import small_stack
from PIL import Image
from test_locks import HOLD, process

import pytorch_feature_analysis as pfa
from pytorch_feature_analysis import _locks, rdm_plan, store
from pytorch_feature_analysis.stack_parts import part_files, parts_folder
from pytorch_feature_analysis.store import RunStore

SIZES = {"a": 3, "b": 5, "c": 4}
MARK = (255, 0, 255)


class Touchy(Maps):
    """Fails at images that have the mark in their corner, as long as it has a reason to."""

    def __init__(self, reason=None, seed=0):
        super().__init__(seed)
        # No setting: the network is the same one when the reason is gone.
        self._reason = reason

    def forward(self, x):
        mark = x.new_tensor(MARK).div(255)
        if self._reason is not None and (x[:, :, 0, 0] == mark).all(dim=1).any():
            raise self._reason
        return super().forward(x)


@pytest.fixture(params=[".parquet", ".p"])
def out(request, tmp_path):
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / f"rdms{request.param}"


@pytest.fixture
def sets(tmp_path, monkeypatch):
    """Three image sets of 3, 5 and 4 files, each a unit of its own; `c` has a marked image."""
    monkeypatch.setattr(rdm_plan, "_RUN_IMAGES", 4)
    rng = np.random.default_rng(0)
    made = []
    for name, size in SIZES.items():
        images = {}
        for number in range(size):
            path = tmp_path / f"{name}{number}.png"
            pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            if name == "c" and number == 2:
                pixels[0, 0] = MARK
            Image.fromarray(pixels).save(path)
            images[f"{name}{number}",] = path
        made.append(image_set(images, set=name))
    return made


def prepared(**networks):
    return pfa.prepare_models({name: (net, TRANSFORM) for name, net in networks.items()})


def get_rdms(sets, models, out=None, **options):
    return pfa.get_rdms(sets, models, out, batch_size=2, progress=False, **options)


def n_images(passes):
    """How many images went through in each pass that computed RDMs."""
    return [sum(batches) for _, batches in passes]


def names(folder):
    return sorted(item.name for item in folder.iterdir() if ".provenance." not in item.name)


def repaint(path):
    Image.open(path).transpose(Image.Transpose.ROTATE_90).save(path)


def assert_is_finished(found, expected, out):
    """The frame and the file are those of a run that nothing befell, and nothing else is left."""
    assert_same_bits(found, expected)
    assert_same_bits(pfa.read_rdms(out), expected)
    assert pfa.read_rdms(out, provenance=True)["row_key"].is_unique


def test_a_stack_of_another_kind_is_named_before_any_pass_and_stays(out, sets, monkeypatch):
    pfa.write_rdms(small_stack(np.random.default_rng(0)), out)
    before = out.read_bytes()
    with (
        watched_passes(monkeypatch) as passes,
        pytest.raises(ValueError, match=r"another kind: it has no column df_name.*another name"),
    ):
        get_rdms(sets, prepared(net=Maps()), out)
    assert passes == []
    assert out.read_bytes() == before
    assert names(out.parent) == [out.name]


@pytest.mark.skipif(
    sys.platform == "win32" or os.geteuid() == 0, reason="root may write to any folder"
)
def test_a_read_only_folder_is_named_before_any_pass(out, sets, monkeypatch):
    out.parent.chmod(0o555)
    with (
        watched_passes(monkeypatch) as passes,
        pytest.raises(PermissionError, match=r"nothing can be written to the folder"),
    ):
        get_rdms(sets, prepared(net=Maps()), out)
    assert passes == []


def test_a_folder_that_refuses_files_is_named_before_any_pass(out, sets, monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    with (
        watched_passes(monkeypatch) as passes,
        pytest.raises(PermissionError, match=r"`out_fname` is .*Read-only file system.*another"),
    ):
        get_rdms(sets, prepared(net=Maps()), out)
    assert passes == []
    assert names(out.parent) == []


def test_a_folder_that_turns_read_only_is_named_and_nothing_is_said_to_be_kept(
    out, sets, monkeypatch
):
    def refuse(self, *args, **kwargs):
        raise OSError(errno.EROFS, "Read-only file system", str(self))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(OSError, match="make the folder writable") as caught:
        get_rdms(sets, prepared(net=Maps()), out)
    said = "\n".join([str(caught.value), *getattr(caught.value, "__notes__", [])])
    assert "Nothing was finished before" in said
    assert "kept in" not in said


class FullDisk:
    """A disk with room for so many files: half of the next one is written, and then an error."""

    def __init__(self, monkeypatch, room):
        original = Path.replace

        def replace(path, target):
            if path.name.startswith("."):
                assert path.stat().st_size
                self.room -= 1
                if self.room < 0:
                    raise OSError(errno.ENOSPC, "No space left on device")
            return original(path, target)

        self.room = room
        monkeypatch.setattr(Path, "replace", replace)


def test_a_disk_that_is_full_in_the_middle_ends_the_run_and_the_same_call_goes_on(
    out, sets, monkeypatch
):
    models = prepared(net=Maps(), other=Maps(1))
    expected = get_rdms(sets, models)
    disk = FullDisk(monkeypatch, room=4)
    with pytest.raises(OSError, match="No space left on device") as caught:
        get_rdms(sets, models, out)
    assert caught.value.errno == errno.ENOSPC
    text = str(caught.value)
    assert f"What was finished before is kept in '{parts_folder(out)}'. Make room" in text
    assert names(out.parent) == [f"{out.name}.parts"]
    # Half a file takes no room.
    assert len(names(parts_folder(out))) == len(part_files(parts_folder(out))) == 4

    disk.room = 100
    with watched_passes(monkeypatch) as passes:
        found = get_rdms(sets, models, out)
    # The second network's first unit was done before the disk was full.
    assert n_images(passes) == [5, 4]
    assert_is_finished(found, expected, out)
    assert names(out.parent) == [out.name]


def test_a_disk_that_is_full_in_the_end_costs_no_pass(out, sets, monkeypatch):
    models = prepared(net=Maps())
    expected = get_rdms(sets, models)
    disk = FullDisk(monkeypatch, room=3)
    with pytest.raises(OSError, match=r"the file could not be written.*No space left on device"):
        get_rdms(sets, models, out)
    assert names(out.parent) == [f"{out.name}.parts"]
    disk.room = 100
    with watched_passes(monkeypatch) as passes:
        found = get_rdms(sets, models, out)
    assert passes == []
    assert_is_finished(found, expected, out)
    assert names(out.parent) == [out.name]


@pytest.fixture
def hold():
    """Have other processes hold the locks of files until the test is over."""
    holders = []

    def start(path):
        holder = process(HOLD, path)
        holders.append(holder)
        assert holder.stdout.readline() == "held\n"
        return holder

    yield start
    for holder in holders:
        with holder:
            holder.stdin.close()


def test_a_file_in_use_is_named_with_who_uses_it_before_any_pass(out, sets, monkeypatch, hold):
    holder = hold(out)
    monkeypatch.setattr(store, "_LOCK_SECONDS", 0.2)
    with watched_passes(monkeypatch) as passes, pytest.raises(TimeoutError) as caught:
        get_rdms(sets, prepared(net=Maps()), out)
    text = str(caught.value)
    assert f"'{out}' is in use by process {holder.pid} on " in text
    assert "Wait until that process is done, or end it if it hangs, and make the same" in text
    assert passes == []


def test_a_file_in_use_at_the_end_costs_no_pass(out, sets, monkeypatch, hold):
    models = prepared(net=Maps())
    expected = get_rdms(sets, models)
    holders = []
    keep = RunStore.keep

    def keep_and_hold(self, rows):
        keep(self, rows)
        if not holders:
            holders.append(hold(out))

    monkeypatch.setattr(store, "_LOCK_SECONDS", 0.2)
    with monkeypatch.context() as patch:
        patch.setattr(RunStore, "keep", keep_and_hold)
        with pytest.raises(TimeoutError, match=r"is kept in '.*\.parts'") as caught:
            get_rdms(sets, models, out)
    assert f"in use by process {holders[0].pid} on " in str(caught.value)
    assert len(part_files(parts_folder(out))) == len(sets)
    holders[0].stdin.close()
    holders[0].wait()
    with watched_passes(monkeypatch) as passes:
        found = get_rdms(sets, models, out)
    assert passes == []
    assert_is_finished(found, expected, out)
    assert names(out.parent) == [out.name]


def test_images_that_changed_are_passed_anew_and_the_others_are_not(
    out, sets, tmp_path, monkeypatch
):
    before = get_rdms(sets, prepared(net=Maps()), out)
    repaint(tmp_path / "b1.png")
    with (
        watched_passes(monkeypatch) as passes,
        pytest.warns(UserWarning, match="computed anew, because the images changed") as caught,
    ):
        found = get_rdms(sets, prepared(net=Maps()), out)
    assert n_images(passes) == [5]
    assert len(caught) == 1
    assert f"the old ones are kept in {out}.superseded.parquet." in str(caught[0].message)
    fresh = get_rdms(sets, prepared(net=Maps()))
    assert_same_bits(found, fresh)
    # The test can fail: the image does change the numbers.
    with pytest.raises(AssertionError):
        assert_same_bits(found, before)
    # In the file the rows that stayed come first.
    stayed = found["set"] != "b"
    assert_same_bits(pfa.read_rdms(out)[: stayed.sum()], fresh[stayed])
    assert_same_bits(pfa.read_rdms(out)[stayed.sum() :], fresh[~stayed])
    aside = pfa.read_rdms(f"{out}.superseded.parquet")
    assert_same_bits(aside, before[~stayed])


def test_images_that_change_before_a_run_goes_on_are_passed_anew(out, sets, tmp_path, monkeypatch):
    net = Touchy(ArithmeticError("out of luck"))
    with pytest.raises(ArithmeticError):
        get_rdms(sets, prepared(net=net), out)
    assert len(part_files(parts_folder(out))) == 2
    repaint(tmp_path / "a0.png")
    net._reason = None
    with watched_passes(monkeypatch) as passes:
        found = get_rdms(sets, prepared(net=net), out)
    assert n_images(passes) == [3, 4]
    assert_is_finished(found, get_rdms(sets, prepared(net=net)), out)


def test_weights_that_changed_are_named_and_their_rows_computed_anew(out, sets, monkeypatch):
    before = get_rdms(sets, prepared(net=Maps(0), other=Maps(1)), out)
    models = prepared(net=Maps(2), other=Maps(1))
    with (
        watched_passes(monkeypatch) as passes,
        pytest.warns(UserWarning, match="the weights or the architecture of model net changed"),
    ):
        found = get_rdms(sets, models, out)
    assert n_images(passes) == list(SIZES.values())
    assert_same_bits(found, get_rdms(sets, models))
    of_net = before["model"] == "net"
    assert_same_bits(pfa.read_rdms(f"{out}.superseded.parquet"), before[of_net])
    assert len(pfa.read_rdms(out)) == len(before)
    # What has changed back is no news, but the file had other rows meanwhile.
    with pytest.warns(UserWarning, match="model net changed"):
        again = get_rdms(sets, prepared(net=Maps(0), other=Maps(1)), out)
    assert_same_bits(again, before)


def test_weights_that_change_before_a_run_goes_on_are_not_served(out, sets, monkeypatch):
    with pytest.raises(ArithmeticError):
        get_rdms(sets, prepared(net=Touchy(ArithmeticError())), out)
    models = prepared(net=Touchy(seed=1))
    with watched_passes(monkeypatch) as passes:
        found = get_rdms(sets, models, out)
    assert n_images(passes) == list(SIZES.values())
    assert_is_finished(found, get_rdms(sets, models), out)


def test_a_network_that_fails_at_one_set_keeps_the_others_and_the_repaired_one_does_the_rest(
    out, sets, monkeypatch
):
    net = Touchy(ArithmeticError("out of luck"))
    models = prepared(first=Maps(1), net=net, last=Maps(2))
    with (
        watched_passes(monkeypatch) as passes,
        pytest.raises(ArithmeticError, match="out of luck") as caught,
    ):
        get_rdms(sets, models, out, num_perms=2)
    # Three units of the first network, and the second failed at the second batch of its third.
    assert n_images(passes) == [3, 5, 4, 3, 5, 4]
    assert any(f"are kept in '{out}.parts': the same call" in n for n in caught.value.__notes__)
    assert not out.exists()
    kept = pfa.read_rdms(f"{out}.parts")
    assert set(zip(kept["model"], kept["set"], strict=True)) == {
        *(("first", name) for name in "abc"),
        *(("net", name) for name in "ab"),
    }

    net._reason = None
    with watched_passes(monkeypatch) as passes:
        found = get_rdms(sets, models, out, num_perms=2)
    assert n_images(passes) == [4, 3, 5, 4]
    assert_is_finished(found, get_rdms(sets, models, num_perms=2), out)
    assert names(out.parent) == [out.name]


@pytest.mark.parametrize("reason", [KeyboardInterrupt(), SystemExit(1), MemoryError()])
def test_whatever_ends_a_run_what_is_finished_is_kept(reason, out, sets, monkeypatch):
    net = Touchy(reason)
    with pytest.raises(type(reason)):
        get_rdms(sets, prepared(net=net), out)
    net._reason = None
    with watched_passes(monkeypatch) as passes:
        found = get_rdms(sets, prepared(net=net), out)
    assert n_images(passes) == [4]
    assert_is_finished(found, get_rdms(sets, prepared(net=net)), out)


def test_a_run_that_fails_before_anything_is_finished_speaks_of_nothing_kept(out, sets):
    models = prepared(net=Touchy(ArithmeticError("out of luck")))
    with pytest.raises(ArithmeticError) as caught:
        get_rdms(sets[2:], models, out)
    assert not any("are kept" in note for note in getattr(caught.value, "__notes__", []))
    assert names(out.parent) == []


def test_the_note_of_a_run_that_fails_names_the_folder_that_there_is(out, sets, tmp_path):
    # Parts are beside the file itself, not beside a link to it.
    link = tmp_path / f"link{out.suffix}"
    link.symlink_to(out)
    with pytest.raises(ArithmeticError) as caught:
        get_rdms(sets, prepared(net=Touchy(ArithmeticError("out of luck"))), link)
    assert part_files(parts_folder(out))
    (note,) = caught.value.__notes__
    assert f"'{parts_folder(out)}'" in note


def test_a_part_that_is_damaged_is_named_and_only_its_unit_computed_anew(out, sets, monkeypatch):
    net = Touchy(ArithmeticError("out of luck"))
    with pytest.raises(ArithmeticError):
        get_rdms(sets, prepared(net=net), out)
    net._reason = None
    part = next(
        part for part in part_files(parts_folder(out)) if set(pfa.read_rdms(part)["set"]) == {"a"}
    )
    part.write_bytes(part.read_bytes()[:-100])
    with (
        watched_passes(monkeypatch) as passes,
        pytest.raises(ValueError, match=rf"{part.name}.*without it, the run's call computes"),
    ):
        get_rdms(sets, prepared(net=net), out)
    assert passes == []
    part.unlink()
    with watched_passes(monkeypatch) as passes:
        found = get_rdms(sets, prepared(net=net), out)
    assert n_images(passes) == [3, 4]
    assert_is_finished(found, get_rdms(sets, prepared(net=net)), out)


AT_ONCE = """
import sys, time
from pathlib import Path
from made_runs import TRANSFORM, Maps, image_set, pictures
import pytorch_feature_analysis as pfa
from pytorch_feature_analysis.store import RunStore

folder, out, me, other = Path(sys.argv[1]), *sys.argv[2:5]

def meet(place):
    (folder / f"{me} at {place}").touch()
    deadline = time.monotonic() + 100
    while not (folder / f"{other} at {place}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.001)

def together(place, method):
    def call(self, rows):
        meet(f"{place} {len(list(folder.glob(f'{me} at {place} *')))}")
        return method(self, rows)
    return call

RunStore.keep = together("keep", RunStore.keep)
RunStore.merge = together("merge", RunStore.merge)
seeds = {"common": 0, me: len(me), f"{me} too": 9}
models = pfa.prepare_models({name: (Maps(seed), TRANSFORM) for name, seed in seeds.items()})
meet("start")
pfa.get_rdms([image_set(pictures(5))], models, out, num_threads=1, progress=False)
"""


@pytest.mark.parametrize("suffix", [".parquet", ".p"])
def test_two_runs_at_once_in_two_processes_leave_each_row_once(suffix, tmp_path):
    (tmp_path / "out").mkdir()
    out = tmp_path / "out" / f"rdms{suffix}"
    places = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    runs = [
        subprocess.Popen(
            [sys.executable, "-W", "error::UserWarning", "-c", AT_ONCE, tmp_path, out, *pair],
            env={**os.environ, "PYTHONPATH": places},
            stderr=subprocess.PIPE,
            text=True,
        )
        for pair in (("one", "three"), ("three", "one"))
    ]
    for run in runs:
        _, said = run.communicate(timeout=200)
        assert run.returncode == 0, said
    found = pfa.read_rdms(out, provenance=True)
    models = ["common", "one", "one too", "three", "three too"]
    assert sorted(found["model"].unique()) == models
    assert found["row_key"].is_unique
    # Five layers, two types.
    assert found["model"].value_counts().to_dict() == dict.fromkeys(models, 10)
    assert names(out.parent) == [out.name]
    seeds = {"common": 0, "one": 3, "one too": 9, "three": 5, "three too": 9}
    networks = prepared(**{name: Maps(seed) for name, seed in seeds.items()})
    expected = pfa.get_rdms([image_set(pictures(5))], networks, num_threads=1, progress=False)
    in_order = found.sort_values("model", kind="stable")
    assert_same_bits(in_order, expected)


def test_a_run_that_finds_the_file_in_use_waits_and_goes_on(out, sets, monkeypatch, hold, caplog):
    holder = hold(out)
    sleep = time.sleep

    def sleep_while_the_other_ends(seconds):
        holder.stdin.close()
        sleep(seconds)

    monkeypatch.setattr(_locks.time, "sleep", sleep_while_the_other_ends)
    models = prepared(net=Maps())
    with caplog.at_level(logging.INFO):
        found = get_rdms(sets, models, out)
    assert f"waiting for '{out}', in use by process {holder.pid}" in caplog.text
    assert_is_finished(found, get_rdms(sets, models), out)
