"""Units that are done by other processes, on a Dask cluster or joblib's own.

The clusters are real ones on this machine, with workers that are killed for real.
"""

import contextlib
import gc
import importlib
import logging
import os
import signal
import sys
import time
from pathlib import Path

import dask
import joblib
import pytest
from click.testing import CliRunner
from distributed import Client, LocalCluster
from made_runs import (
    FAST,
    SLOW,
    TRANSFORM,
    Maps,
    Tokens,
    assert_same_bits,
    budget,
    image_set,
    pictures,
    use_disk,
    watched_passes,
)

import pytorch_feature_analysis as pfa
from pytorch_feature_analysis import _parallel, store
from pytorch_feature_analysis._dask import using_scheduler
from pytorch_feature_analysis.cli import main
from pytorch_feature_analysis.stack_parts import part_files, parts_folder
from pytorch_feature_analysis.store import RunStore

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")

OPTIONS = {"batch_size": 4, "num_threads": 1, "num_perms": 1, "progress": False}
HERE = os.getpid()
LACKING = r"(?s)a worker could not load its work.*No module named 'homemade'.*that the workers can"
workers_may_be_replaced = pytest.mark.filterwarnings("ignore:A worker stopped:UserWarning")


class Visitor(Maps):
    """Does something on its first passes outside the process that it was made in."""

    def __init__(self, folder, act, times=1, seed=0):
        super().__init__(seed)
        # Names with an underscore are no settings: the network's hash does not know of them.
        self._folder, self._act, self._times, self._home = folder, act, times, os.getpid()

    def forward(self, x):
        if os.getpid() != self._home:
            for number in range(self._times):
                with contextlib.suppress(FileExistsError):
                    (self._folder / f"{number} of {self._act.__name__}").touch(exist_ok=False)
                    self._act(self._folder)
                    break
        return super().forward(x)


def die(folder):
    os.kill(os.getpid(), signal.SIGKILL)


def say_where(folder):
    (folder / f"process {os.getpid()}").touch()


def exit_when_something_is_kept(folder):
    while not part_files(parts_folder(folder / "rdms.parquet")):
        time.sleep(0.01)
    os._exit(3)


def stay_out_of(folder):
    """Note from now on what this process does in a folder."""
    sys.deeds = deeds = []

    def note(event, arguments):
        if event.startswith(("open", "os.", "shutil.")) and str(folder) in repr(arguments):
            deeds.append(event)

    sys.addaudithook(note)


@contextlib.contextmanager
def ended_if_it_hangs(seconds=60):
    def end(*_):
        pytest.fail(f"no end in sight after {seconds} s")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def local_cluster(n_workers, folder, *, processes=True, **options):
    # Workers that die are what these tests are about, so that nothing need be said of it.
    with LocalCluster(
        n_workers=n_workers,
        threads_per_worker=1,
        processes=processes,
        protocol="tcp://",
        # Any port: another cluster may have the usual one.
        dashboard_address=":0",
        local_directory=str(folder),
        silence_logs=logging.CRITICAL + 1,
        **options,
    ) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def shared_cluster(tmp_path_factory):
    with local_cluster(2, tmp_path_factory.mktemp("dask")) as cluster:
        yield cluster


@pytest.fixture
def cluster(shared_cluster):
    """Two workers, also where the test before has killed one."""
    with Client(shared_cluster, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=60)
    return shared_cluster


@pytest.fixture(scope="module")
def shared_single(tmp_path_factory):
    with local_cluster(1, tmp_path_factory.mktemp("dask")) as cluster:
        yield cluster


@pytest.fixture
def single(shared_single):
    """Workers, and a unit that kills one is given up at once."""
    with Client(shared_single, set_as_default=False) as client:
        client.wait_for_workers(1, timeout=60)
    shared_single.scheduler.allowed_failures = 0
    return shared_single


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


@pytest.fixture
def sets(tmp_path):
    """Two image sets; the images of one are files, which the workers open."""
    files = {}
    for key, picture in pictures(6).items():
        picture.save(tmp_path / f"{key[0]}.png")
        files[key] = tmp_path / f"{key[0]}.png"
    return [image_set(files, set="files"), image_set(pictures(9, seed=1), set="loaded")]


def networks(**more):
    chosen = {"maps": Maps(), **more, "other": Maps(1), "tokens": Tokens()}
    return pfa.prepare_models({name: (net, TRANSFORM) for name, net in chosen.items()})


def serial(sets, models, **options):
    return pfa.get_rdms(sets, models, num_cores=1, **OPTIONS, **options)


@contextlib.contextmanager
def on(cluster):
    """What a user of joblib writes to have the work done by a cluster."""
    with Client(cluster), joblib.parallel_config(backend="dask"), ended_if_it_hangs():
        yield


@pytest.mark.parametrize("disk", [SLOW, FAST], ids=["several passes", "files"])
def test_workers_elsewhere_give_the_same_bits_and_only_this_process_writes(
    disk, cluster, folder, sets, monkeypatch
):
    use_disk(monkeypatch, disk)
    models = networks()
    scarce = {"memory_budget": budget(sets, models, 0.5, batch_size=4)}
    regimes = pfa.plan_rdms(sets, models, batch_size=4, **scarce)["regime"]
    assert {"several passes" if disk is SLOW else "file"} <= set(regimes)
    expected = serial(sets, models, **scarce)

    writers = []
    write_part = store.write_part

    def watched(rows, path):
        writers.append(os.getpid())
        write_part(rows, path)

    monkeypatch.setattr(store, "write_part", watched)
    with on(cluster), Client(cluster) as client, watched_passes(monkeypatch) as passes_here:
        client.run(stay_out_of, folder)
        found = pfa.get_rdms(sets, models, folder / "rdms.parquet", **OPTIONS, **scarce)
        assert set(client.run(lambda: tuple(sys.deeds)).values()) == {()}
        # The watch would have seen it.
        client.run(os.listdir, folder)
        assert set(client.run(lambda: tuple(sys.deeds)).values()) == {("os.listdir",)}
    assert_same_bits(found, expected)
    assert_same_bits(pfa.read_rdms(folder / "rdms.parquet"), expected)
    assert passes_here == []
    assert set(writers) == {HERE}
    assert (len(writers) > len(models)) == (disk is SLOW)
    assert [path.name for path in Path(folder).iterdir()] == ["rdms.parquet"]


def test_a_worker_that_is_killed_in_the_middle_of_a_unit_costs_no_bit(cluster, folder, sets):
    models = networks(mortal=Visitor(folder, die))
    expected = serial(sets, models)
    with on(cluster):
        found = pfa.get_rdms(sets, models, folder / "rdms.parquet", **OPTIONS)
    assert (folder / "0 of die").exists()
    assert_same_bits(found, expected)
    assert_same_bits(pfa.read_rdms(folder / "rdms.parquet"), expected)


def test_a_worker_killed_with_the_results_it_holds_costs_no_bit(single, folder, sets, monkeypatch):
    single.scheduler.allowed_failures = 3
    models = networks(fourth=Maps(3), fifth=Maps(4))
    expected = serial(sets, models)
    killed = []
    keep = RunStore.keep

    def kill_first(self, rows):
        if not killed:
            killed.extend(client.run(os.getpid).values())
            os.kill(*killed, signal.SIGKILL)
        keep(self, rows)

    monkeypatch.setattr(RunStore, "keep", kill_first)
    with on(single), Client(single, set_as_default=False) as client:
        found = pfa.get_rdms(sets, models, folder / "rdms.parquet", **OPTIONS)
        assert killed != list(client.run(os.getpid).values())
    assert_same_bits(found, expected)
    assert_same_bits(pfa.read_rdms(folder / "rdms.parquet"), expected)


def test_an_error_of_a_network_on_a_worker_is_the_error_of_the_call(cluster, folder, sets):
    def complain(folder):
        raise ArithmeticError("out of luck")

    with on(cluster), pytest.raises(ArithmeticError, match="out of luck"):
        pfa.get_rdms(sets, networks(bad=Visitor(folder, complain)), **OPTIONS)


def test_the_workers_of_a_scheduler_are_found_by_its_address(cluster, folder, sets, monkeypatch):
    models = networks(visitor=Visitor(folder, say_where, times=100))
    expected = serial(sets, models)
    before = joblib.parallel.get_active_backend()[0]
    with (
        ended_if_it_hangs(),
        using_scheduler(cluster.scheduler_address) as nothing,
        watched_passes(monkeypatch) as passes_here,
    ):
        assert nothing is None
        # Two workers; a budget is for each machine, and these are taken for two.
        assert _parallel.count_workers(None) == (2, False)
        found = pfa.get_rdms(sets, models, **OPTIONS)
    assert_same_bits(found, expected)
    assert passes_here == []
    with Client(cluster, set_as_default=False) as client:
        workers = {f"process {pid}" for pid in client.run(os.getpid).values()}
    seen = {path.name for path in folder.glob("process *")}
    assert seen
    assert seen <= workers
    assert type(joblib.parallel.get_active_backend()[0]) is type(before)


def test_the_command_line_has_the_work_done_by_the_workers(
    cluster, tmp_path, folder, sets, monkeypatch
):
    command = ["rdms", tmp_path, "--pattern", "{image}.png", "--entry", "image"]
    command += ["--model", "squeezenet1_1:random", "--layer", "conv1", "--num-threads", 1]
    outs = [folder / "there.parquet", folder / "here.parquet"]
    with ended_if_it_hangs():
        for out, there in zip(outs, [["--scheduler", cluster.scheduler_address], []], strict=True):
            with watched_passes(monkeypatch) as passes_here:
                words = map(str, [*command, *there, "--out", out])
                result = CliRunner().invoke(main, list(words), catch_exceptions=False)
            assert result.exit_code == 0, result.output
            assert len(passes_here) == (0 if there else 1)
    assert_same_bits(*(pfa.read_rdms(out) for out in outs))


def test_a_unit_that_kills_its_workers_ends_the_call_and_the_next_one_goes_on(
    single, folder, sets, monkeypatch
):
    out = folder / "rdms.parquet"
    mortal = Visitor(folder, die)
    models = networks(mortal=mortal)
    with on(single), pytest.raises(RuntimeError, match=r"a worker ended .*KilledWorker") as caught:
        pfa.get_rdms(sets, models, out, **OPTIONS)
    assert "take a smaller `memory_budget` or fewer workers" in str(caught.value)
    assert any(f"'{out}.parts'" in note for note in caught.value.__notes__)
    assert pfa.read_rdms(f"{out}.parts")["model"].unique().tolist() == ["maps"]

    def live(folder):
        return None

    # The same weights in a network that does no harm.
    mortal._act = live
    with on(single), watched_results(monkeypatch) as computed:
        found = pfa.get_rdms(sets, models, out, **OPTIONS)
    assert sorted(computed) == ["mortal", "other", "tokens"]
    assert_same_bits(found, serial(sets, models))


@contextlib.contextmanager
def watched_results(monkeypatch):
    """List of the models whose units were done, wherever that was."""
    from pytorch_feature_analysis import rdms

    finished_rows = rdms.finished_rows
    models = []

    def watched(rows, laid_out, job, *arguments):
        models.append(job.model_name)
        return finished_rows(rows, laid_out, job, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(rdms, "finished_rows", watched)
        yield models


@pytest.fixture
def homemade(tmp_path, monkeypatch):
    """A network whose class is in a module that the workers cannot import."""
    (tmp_path / "homemade.py").write_text("from made_runs import Maps\nclass Mine(Maps): pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    homemade = importlib.import_module("homemade")

    # joblib tells its workers of all folders that this process looks into.
    sys.path.remove(str(tmp_path))
    yield homemade.Mine()
    del sys.modules["homemade"]


def test_a_module_that_dask_workers_lack_is_named_and_they_live_on(single, sets, homemade):
    with on(single):
        with pytest.raises(RuntimeError, match=LACKING):
            pfa.get_rdms(sets, networks(mine=homemade), **OPTIONS)
        assert_same_bits(
            pfa.get_rdms(sets, networks(), **OPTIONS),
            serial(sets, networks()),
        )


@workers_may_be_replaced
def test_a_module_that_joblib_workers_lack_is_named(sets, homemade):
    with ended_if_it_hangs(), pytest.raises(RuntimeError, match=LACKING):
        pfa.get_rdms(sets, networks(mine=homemade), num_cores=2, **OPTIONS)


def test_a_scheduler_that_ends_ends_the_call_and_what_is_finished_is_kept(
    tmp_path, folder, sets, monkeypatch
):
    out = folder / "rdms.parquet"
    models = networks(fourth=Maps(3), fifth=Maps(4), sixth=Maps(5))
    keep = RunStore.keep

    def end_the_scheduler(self, rows):
        keep(self, rows)
        cluster.sync(cluster.scheduler.close)

    monkeypatch.setattr(RunStore, "keep", end_the_scheduler)
    # The worker is a thread of this process: to start one of its own would take far longer.
    with local_cluster(2, tmp_path, processes=False) as cluster:
        with (
            ended_if_it_hangs(),
            using_scheduler(cluster.scheduler_address, timeout=1),
            pytest.raises(RuntimeError, match="the scheduler has ended, or cannot be reached"),
        ):
            pfa.get_rdms(sets, models, out, **OPTIONS)
        # Who is left would look for it for half a minute.
        with dask.config.set({"distributed.comm.timeouts.connect": "1s"}):
            cluster.close()
    assert part_files(parts_folder(out))
    monkeypatch.undo()
    found = pfa.get_rdms(sets, models, out, **OPTIONS)
    assert_same_bits(found, serial(sets, models))


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("tcp://127.0.0.1:9", "Timed out"),
        ("localhost", "missing port"),
        ("http://127.0.0.1:9", "unknown address scheme"),
        # Not without certificates.
        ("tls://127.0.0.1:9", "TLS"),
    ],
)
def test_an_address_at_which_nothing_answers_is_named_with_the_next_step(address, reason):
    with (
        ended_if_it_hangs(),
        pytest.raises(ConnectionError) as caught,
        using_scheduler(address, timeout=0.2),
    ):
        pytest.fail("a scheduler out of nothing")
    text = str(caught.value)
    assert f"`scheduler` is '{address}', but nothing answers there within 0.2 s: " in text
    assert reason in text
    assert "Start one with `dask scheduler`, which prints its address, and workers with" in text
    # A client that came to nothing closes itself when it is collected, for which it needs a lock
    # that is held while another one starts.
    del caught
    gc.collect()


def test_a_scheduler_without_workers_and_workers_without_the_package_are_named(
    tmp_path, sets, monkeypatch
):
    lacking = tmp_path / "lacking.py"
    lacking.write_text("import sys\nsys.modules['pytorch_feature_analysis'] = None\n")
    with local_cluster(0, tmp_path, preload=[str(lacking)]) as cluster, ended_if_it_hangs():
        address = cluster.scheduler_address
        with (
            pytest.raises(ConnectionError, match=rf"'{address}' has no workers yet: start some"),
            using_scheduler(address),
        ):
            pytest.fail("work for nobody")

        cluster.scale(1)
        with Client(cluster) as client:
            client.wait_for_workers(1, timeout=60)
            (worker,) = client.ncores()
            message = rf"workers without pytorch_feature_analysis: {worker}\. Install it in"
            with pytest.raises(RuntimeError, match=message), using_scheduler(address):
                pytest.fail("work for those who cannot do it")
            with (
                joblib.parallel_config(backend="dask"),
                pytest.raises(RuntimeError, match="could not load its work: No module named"),
            ):
                pfa.get_rdms(sets, networks(), **OPTIONS)


def test_without_dask_the_way_to_get_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with (
        pytest.raises(ImportError, match=r"pip install 'pytorch_feature_analysis\[distributed\]'"),
        using_scheduler("tcp://127.0.0.1:9"),
    ):
        pytest.fail("a client out of nothing")


@workers_may_be_replaced
def test_a_joblib_worker_that_dies_ends_the_call_and_the_next_one_goes_on(
    folder, sets, monkeypatch
):
    out = folder / "rdms.parquet"
    mortal = Visitor(folder, exit_when_something_is_kept)
    models = networks(mortal=mortal)
    with ended_if_it_hangs(), pytest.raises(RuntimeError, match="a worker ended in") as caught:
        pfa.get_rdms(sets, models, out, num_cores=2, **OPTIONS)
    assert "It may have been killed for want of memory: take a smaller" in str(caught.value)
    assert any(f"'{out}.parts': the same call" in note for note in caught.value.__notes__)
    assert not out.exists()
    kept = pfa.read_rdms(f"{out}.parts")["model"].unique().tolist()
    assert "maps" in kept

    mortal._times = 0
    with ended_if_it_hangs(), watched_results(monkeypatch) as computed:
        found = pfa.get_rdms(sets, models, out, **OPTIONS)
    assert sorted([*kept, *computed]) == ["maps", "mortal", "other", "tokens"]
    assert_same_bits(found, serial(sets, models))
