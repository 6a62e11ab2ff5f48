"""Weights from files and URLs."""

import functools
import hashlib
import http.server
import logging
import threading
from collections import OrderedDict

import pytest
import torch
import torchvision
from torch import nn

from pytorch_feature_analysis.checkpoints import (
    cached_file,
    checkpoints_folder,
    fetch,
    load_strictly,
    read_state_dict,
    unwrap,
)

OWNER = "weights of model 'net'"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch_home"))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    return tmp_path / "torch_home" / "hub" / "checkpoints"


@pytest.fixture
def failing_downloads(monkeypatch):
    def refuse(url, *args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Serve the folder `served` on this machine; yields its URL and the paths asked for."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    asked = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            super().do_GET()

        def log_message(self, *args):
            pass

    (tmp_path / "served").mkdir()
    handler = functools.partial(Handler, directory=str(tmp_path / "served"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}", asked
        running.shutdown()
        thread.join()


def state(value=1.0):
    return OrderedDict(weight=torch.full((2, 3), value), bias=torch.zeros(2))


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda inner: inner,
        dict,
        lambda inner: {"state_dict": inner, "epoch": 3},
        lambda inner: {"model": inner, "optimizer": {"lr": torch.ones(1)}},
        lambda inner: {"model_state_dict": inner},
        lambda inner: {"student": {"x": torch.ones(1)}, "teacher": inner},
        lambda inner: {"epoch": 3, "model": {"state_dict": inner}},
        lambda inner: {"state_dict": {f"module.{k}": v for k, v in inner.items()}},
        lambda inner: {f"module.module.{k}": v for k, v in inner.items()},
        lambda inner: {f"_orig_mod.{k}": v for k, v in inner.items()},
        lambda inner: {"arch": "net", "model": "net", "state_dict": inner},
    ],
)
def test_wrappers_and_prefixes_are_undone(wrap):
    wrapped = wrap(state())
    before = repr(wrapped)
    assert same(unwrap(wrapped, owner=OWNER), state())
    assert repr(wrapped) == before


def test_a_name_that_only_begins_like_a_prefix_is_kept():
    kept = {"modules.weight": torch.ones(1), "model.module.bias": torch.ones(1)}
    assert unwrap(kept, owner=OWNER).keys() == kept.keys()


def test_versions_of_modules_survive_unwrapping():
    # MNASNet cannot be loaded without the version that its state dict carries.
    model = torchvision.models.mnasnet0_5()
    wrapped = nn.DataParallel(model).state_dict()
    found = unwrap({"state_dict": wrapped}, owner=OWNER)
    assert found._metadata == model.state_dict()._metadata
    load_strictly(torchvision.models.mnasnet0_5(), found, owner=OWNER)


@pytest.mark.parametrize(
    ("checkpoint", "found"),
    [
        ({"optimizer": {}, "epoch": 3}, "optimizer, epoch"),
        ({"state_dict": {}}, "but: nothing"),
        ([1, 2], "but: list"),
    ],
)
def test_what_holds_no_state_dict_is_named(checkpoint, found):
    with pytest.raises(ValueError, match=rf"weights of model 'net' hold no state dict.*{found}"):
        unwrap(checkpoint, owner=OWNER)


def test_a_parameter_that_comes_twice_is_refused():
    twice = {"weight": torch.ones(1), "module.weight": torch.zeros(1)}
    with pytest.raises(ValueError, match=r"with and without 'module\.'"):
        unwrap(twice, owner=OWNER)


def test_a_file_is_read(tmp_path):
    torch.save({"state_dict": state(2.0)}, tmp_path / "net.pth")
    assert same(read_state_dict(tmp_path / "net.pth", owner=OWNER), state(2.0))


class Payload:
    ran = False

    def __reduce__(self):
        return (setattr, (Payload, "ran", True))


def test_a_file_that_would_run_code_is_refused_and_nothing_runs(tmp_path):
    path = tmp_path / "evil.pth"
    torch.save({"state_dict": state(), "extra": Payload()}, path)
    with pytest.raises(ValueError, match=r"holds more than weights .*setattr.*is refused.*save"):
        read_state_dict(path, owner=OWNER)
    assert not Payload.ran


def test_a_pickled_module_is_refused_with_its_class(tmp_path):
    path = tmp_path / "whole.pth"
    torch.save(nn.Linear(2, 2), path)
    with pytest.raises(ValueError, match=r"torch\.nn\.modules\.linear\.Linear"):
        read_state_dict(path, owner=OWNER)


@pytest.mark.parametrize("content", [b"", b"no checkpoint", "truncated"])
def test_a_damaged_file_is_named(tmp_path, content):
    path = tmp_path / "net.pth"
    if content == "truncated":
        torch.save(state(), path)
        content = path.read_bytes()[:-200]
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"net\.pth, the weights .* cannot be read") as caught:
        read_state_dict(path, owner=OWNER)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"where there is no file"):
        read_state_dict(tmp_path / "no.pth", owner=OWNER)
    with pytest.raises(FileNotFoundError, match=r"where there is no file"):
        fetch((tmp_path / "no.pth").as_uri(), owner=OWNER)


def test_a_file_url_is_the_file_itself(tmp_path):
    path = tmp_path / "a name with spaces.pth"
    torch.save(state(3.0), path)
    found = fetch(path.as_uri(), owner=OWNER)
    assert found == path
    assert same(read_state_dict(found, owner=OWNER), state(3.0))


def test_every_file_of_torchvision_keeps_its_name_in_the_cache(cache):
    assert checkpoints_folder() == cache
    for name in torchvision.models.list_models(module=torchvision.models):
        for weights in torchvision.models.get_model_weights(name):
            assert cached_file(weights.url) == cache / weights.url.rpartition("/")[2]


def test_a_download_is_kept_and_files_of_one_name_are_told_apart(tmp_path, server, cache):
    url, asked = server
    for folder, value in (("a", 1.0), ("b", 2.0)):
        (tmp_path / "served" / folder).mkdir()
        torch.save(state(value), tmp_path / "served" / folder / "checkpoint.pth")
    for _ in range(2):
        for folder, value in (("a", 1.0), ("b", 2.0)):
            path = fetch(f"{url}/{folder}/checkpoint.pth", owner=OWNER)
            assert path.parent == cache
            assert same(read_state_dict(path, owner=OWNER), state(value))
    assert asked == ["/a/checkpoint.pth", "/b/checkpoint.pth"]


def test_the_hash_in_a_name_is_checked_on_download(tmp_path, server, cache):
    url, _ = server
    torch.save(state(), tmp_path / "net.pth")
    content = (tmp_path / "net.pth").read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    right, wrong = f"net-{digest[:8]}.pth", "net-00000000.pth"
    for name in (right, wrong):
        (tmp_path / "served" / name).write_bytes(content)
    assert fetch(f"{url}/{right}", owner=OWNER) == cache / right
    with pytest.raises(ValueError, match=r"is not the file that its name says"):
        fetch(f"{url}/{wrong}", owner=OWNER)
    assert [path.name for path in cache.iterdir()] == [right]


def test_a_file_in_the_cache_is_used_without_a_network(cache, failing_downloads, caplog):
    caplog.set_level(logging.INFO)
    url = "https://example.org/weights/net.pth?download=1"
    cache.mkdir(parents=True)
    torch.save(state(), cached_file(url))
    assert same(read_state_dict(fetch(url, owner=OWNER), owner=OWNER), state())
    assert "downloading" not in caplog.text


def test_a_damaged_file_in_the_cache_is_named(cache, failing_downloads):
    cache.mkdir(parents=True)
    (cache / "net-12345678.pth").write_bytes(b"half a download")
    with pytest.raises(ValueError, match=r"net-12345678\.pth.*SHA-256 begins with.*delete it"):
        fetch("https://example.org/net-12345678.pth", owner=OWNER)


def test_without_a_network_the_error_says_which_file_to_get_and_where_to_put_it(
    cache, failing_downloads
):
    url = "https://example.org/net-12345678.pth"
    with pytest.raises(ConnectionError) as caught:
        fetch(url, owner=OWNER)
    message = str(caught.value)
    assert message.startswith("the weights of model 'net' cannot be downloaded (no network).")
    assert f"Get the file {url} " in message
    assert f"save it as {cache / 'net-12345678.pth'}" in message


def test_a_page_that_does_not_exist_is_named(server):
    url, _ = server
    with pytest.raises(ConnectionError, match=r"cannot be downloaded \(HTTP Error 404"):
        fetch(f"{url}/no.pth", owner=OWNER)


def test_keys_that_do_not_fit_are_shown():
    model = nn.Sequential(OrderedDict(fc=nn.Linear(3, 2), norm=nn.BatchNorm1d(2)))
    wrong = {f"extra{k}": torch.ones(1) for k in range(6)}
    wrong |= {"fc.weight": torch.ones(5, 3), "norm.weight": torch.ones(2)}
    with pytest.raises(ValueError, match="do not fit the network") as caught:
        load_strictly(model, wrong, owner=OWNER)
    message = str(caught.value)
    assert "Missing (4): fc.bias, norm.bias, norm.running_mean, norm.running_var." in message
    assert "Unexpected (6): extra0, extra1, extra2, extra3, ...." in message
    assert "Of another shape (1): fc.weight is (5, 3) instead of (2, 3)." in message
    assert "(module, transform)" in message


def test_a_checkpoint_older_than_the_batch_counter_loads():
    model = nn.Sequential(nn.BatchNorm1d(2))
    old = {key: torch.ones(2) for key in ("0.weight", "0.bias", "0.running_mean", "0.running_var")}
    load_strictly(model, old, owner=OWNER)
    assert torch.equal(model[0].running_mean, torch.ones(2))
