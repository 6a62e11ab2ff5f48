"""Weights from files and URLs: fetched once, read without running code, loaded strictly."""

from __future__ import annotations

import hashlib
import http.client
import logging
import pickle
import re
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlparse
from urllib.request import url2pathname

import torch
from torch import nn

logger = logging.getLogger(__name__)

_WRAPPERS = ("state_dict", "model", "model_state_dict", "teacher")
_PREFIXES = ("module.", "_orig_mod.")  # of DataParallel and of torch.compile
_HASH_IN_NAME = re.compile(r"-([0-9a-f]{8,64})\.\w+$")  # torch.hub's convention
_UNSAFE_GLOBAL = re.compile(
    r"GLOBAL (\S+) (?:was not an allowed global|whose module \S+ is blocked)"
)
_SHOWN = 4


def is_url(text: str) -> bool:
    """Whether a text is a URL that weights can be fetched from."""
    return urlparse(text).scheme in ("http", "https", "file")


def checkpoints_folder() -> Path:
    """Return the folder of torch.hub's downloads, which torchvision uses as well."""
    return Path(torch.hub.get_dir(), "checkpoints")


def cached_file(url: str) -> Path:
    """Where the file of a URL lies, or would lie after the download.

    A name that carries its hash ('alexnet-owt-7be5be79.pth') is kept, so the file is shared with
    torchvision. Any other name gets the hash of its URL: 'checkpoint.pth' may mean a different
    file on each server.
    """
    parts = urlparse(url)
    if parts.scheme == "file":
        return Path(url2pathname(parts.path))
    name = PurePosixPath(PurePosixPath(parts.path).name or "checkpoint")
    if not _HASH_IN_NAME.search(name.name):
        key = hashlib.sha256(url.encode()).hexdigest()[:12]
        name = PurePosixPath(f"{name.stem}.{key}{name.suffix}")
    return checkpoints_folder() / name


def fetch(url: str, *, owner: str) -> Path:
    """Return the file of a URL, downloaded unless it is in the cache.

    Parameters
    ----------
    owner
        Whose weights they are, as a phrase: "weights AlexNet_Weights.DEFAULT of model 'alexnet'".

    Raises
    ------
    ConnectionError
        The file is not in the cache and cannot be downloaded; says which file to get, and where
        to put it.
    ValueError
        The file is not the one whose hash its name carries.
    """
    path = cached_file(url)
    if not path.exists() and urlparse(url).scheme == "file":
        raise FileNotFoundError(
            f"the {owner} are to come from {url}, where there is no file. Correct the URL."
        )
    if not path.exists():
        logger.info("downloading the %s from %s to %s", owner, url, path)
        named = _HASH_IN_NAME.search(path.name)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(path), named and named.group(1))
        except RuntimeError as error:
            raise ValueError(
                f"what {url} sends as the {owner} is not the file that its name says ({error})."
                " Try again; if these digits are no hash at all, download the file yourself and"
                " give its path."
            ) from error
        except (OSError, http.client.HTTPException) as error:
            raise ConnectionError(
                f"the {owner} cannot be downloaded ({error}). Get the file {url} on a machine with"
                f" a network and save it as {path}, or give the path of the file instead."
            ) from error
    _check_hash(path, url, owner)
    return path


def read_state_dict(path: Path, *, owner: str) -> OrderedDict[str, Any]:
    """Read the state dict in a file, its wrappers undone; nothing in the file is run.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        The file is damaged, is no checkpoint, or could run code when loaded.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"the {owner} are to come from {path}, where there is no file. Correct the path."
        )
    checkpoint = load_without_code(
        path,
        name=f"{path}, the {owner},",
        content="weights",
        remedy="save its weights alone:"
        " torch.save(torch.load(path, weights_only=False)['state_dict'], new_path)",
    )
    return unwrap(checkpoint, owner=f"{owner} from {path}")


def load_without_code(
    path: Path, *, name: str, content: str, remedy: str, mmap: bool = False
) -> Any:
    """Load what torch.save wrote, or raise a ValueError; nothing in the file is run.

    `name` is what messages call the file, `content` what it may hold, and `remedy` what to do
    with a file that is refused.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        unsafe = _UNSAFE_GLOBAL.search(str(error))
        if unsafe:
            raise ValueError(
                f"{name} holds more than {content} ({unsafe.group(1)}), so that loading it could"
                f" run code; it is refused. Where you trust the file, {remedy}."
            ) from error
        reason = str(error).split("\n")[0] or type(error).__name__
        raise ValueError(
            f"{name} cannot be read as a checkpoint of torch.save ({reason})."
            " It may be truncated or of another format; get it anew."
        ) from error


def unwrap(checkpoint: Any, *, owner: str) -> OrderedDict[str, Any]:
    """Return the state dict inside a checkpoint, without the prefixes of wrapped networks.

    Parameters
    ----------
    checkpoint
        A state dict, or a dict that holds one as 'state_dict', 'model', 'model_state_dict' or
        'teacher', at any depth. It is not changed.
    """
    inner = checkpoint
    while isinstance(inner, Mapping):
        wrapped = [key for key in _WRAPPERS if isinstance(inner.get(key), Mapping)]
        if not wrapped:
            break
        inner = inner[wrapped[0]]
    if not isinstance(inner, Mapping) or not any(
        isinstance(value, torch.Tensor) for value in inner.values()
    ):
        found = _some(inner) if isinstance(inner, Mapping) else type(inner).__name__
        raise ValueError(
            f"the {owner} hold no state dict (parameter names to tensors), but: {found}."
        )
    state_dict = OrderedDict((_without_prefix(str(key)), value) for key, value in inner.items())
    if len(state_dict) < len(inner):
        raise ValueError(f"the {owner} hold keys with and without 'module.' for one parameter.")
    metadata = getattr(inner, "_metadata", None)
    if metadata is not None:  # versions of modules, which some of them need in order to load
        plain = {_without_prefix(f"{key}.").rstrip("."): value for key, value in metadata.items()}
        state_dict._metadata = plain  # type: ignore[attr-defined] # torch's own way to keep them
    return state_dict


def load_strictly(model: nn.Module, state_dict: Mapping[str, Any], *, owner: str) -> None:
    """Load a state dict; when its keys do not fit exactly, the error shows the difference."""
    try:
        model.load_state_dict(state_dict, strict=True)
    except (RuntimeError, ValueError) as error:
        difference = _difference(model, state_dict) or str(error)
        raise ValueError(
            f"the {owner} do not fit the network. {difference} For a network with another head or"
            " other parts, build and load it yourself and give (module, transform)."
        ) from error


def _difference(model: nn.Module, state_dict: Mapping[str, Any]) -> str:
    expected = model.state_dict()
    missing = [
        key
        for key in expected
        # Checkpoints older than this counter load all the same.
        if key not in state_dict and not key.endswith("num_batches_tracked")
    ]
    unexpected = [key for key in state_dict if key not in expected]
    shapes = [
        f"{key} is {tuple(state_dict[key].shape)} instead of {tuple(tensor.shape)}"
        for key, tensor in expected.items()
        if isinstance(tensor, torch.Tensor)
        and isinstance(state_dict.get(key), torch.Tensor)
        and state_dict[key].shape != tensor.shape
    ]
    parts = {"Missing": missing, "Unexpected": unexpected, "Of another shape": shapes}
    return " ".join(
        f"{what} ({len(items)}): {_some(items)}." for what, items in parts.items() if items
    )


def _check_hash(path: Path, url: str, owner: str) -> None:
    named = _HASH_IN_NAME.search(path.name)
    if not named:
        return
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if not found.startswith(named.group(1)):
        raise ValueError(
            f"{path}, the {owner}, is not the file that its name says: its SHA-256 begins with"
            f" {found[: len(named.group(1))]}. It may be damaged; delete it and get {url} anew."
            " If these digits are no hash at all, give the path of the file in place of the URL."
        )


def _without_prefix(key: str) -> str:
    while key.startswith(_PREFIXES):
        key = key.split(".", 1)[1]
    return key


def _some(items: Any) -> str:
    shown = [str(item) for item in items][:_SHOWN]
    return ", ".join(shown) + (", ..." if len(items) > _SHOWN else "") if shown else "nothing"
