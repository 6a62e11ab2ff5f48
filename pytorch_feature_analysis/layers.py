"""Names and addresses of a network's layers.

The address book follows the order in which modules are defined, not the order in which they run,
so it can be read off any network without a forward pass.
"""

from __future__ import annotations

import difflib
import operator
import re
from collections import Counter, OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from torch import nn
from torch.nn.utils import parametrize

from pytorch_feature_analysis._checks import check_sequence

LayerLabel: TypeAlias = tuple[str, int]

ORIGINAL_RGB: LayerLabel = ("original_rgb", 0)

# Looked for in the lower-case class name, the first that is found wins. What only looks alike is
# kept out: "ConvertDtype", "Bilinear", "Nonlinearity", "Unflatten".
_TYPE_PATTERNS = {
    "conv": re.compile(r"conv(?!ert)"),
    "fc": re.compile(r"(?<!bi)(?<!non)linear(?!ity)"),
    "maxpool": re.compile(r"maxpool"),
    "avgpool": re.compile(r"avgpool"),
    "relu": re.compile(r"relu"),
    "batchnorm": re.compile(r"batchnorm"),
    "dropout": re.compile(r"dropout"),
    "flatten": re.compile(r"(?<!un)flatten"),
    "identity": re.compile(r"identity"),
}
_CONTAINERS_WITHOUT_FORWARD = (nn.ModuleList, nn.ModuleDict, nn.ParameterList, nn.ParameterDict)


@dataclass(frozen=True)
class LayerInfo:
    """One layer of the address book."""

    label: LayerLabel
    path: str
    module_type: str
    address: list[Any]


class LayerRequest(NamedTuple):
    """One entry of `which_layers`, resolved; `path` is None for the image itself."""

    label: LayerLabel
    path: str | None
    call: int | None


def fetch_layers(model: nn.Module) -> OrderedDict[LayerLabel, list[Any]]:
    """Address book of a network: every layer's label and where it stands in the model.

    A layer is a module without children. A convolution or a linear layer that keeps helpers of
    its own inside (a padding module, say) is a layer as well.

    Parameters
    ----------
    model : torch.nn.Module
        Any network. It is read, not run, and not changed.

    Returns
    -------
    collections.OrderedDict
        From label to address, in the order in which the modules are defined.

        label : tuple of (str, int)
            ``(f'{type}{k}', layer_num)``: the `k`-th layer of its type and the `layer_num`-th
            layer of the network, both counted from 1. The type is ``conv``, ``fc``, ``maxpool``,
            ``avgpool``, ``relu``, ``batchnorm``, ``dropout``, ``flatten`` or ``identity`` where
            the class name contains it (``Linear`` is ``fc``; so ``ReLU6`` and ``LeakyReLU`` are
            ``relu``, ``ConvTranspose2d`` is ``conv``), else the class name in lower case
            without what stands for dimensions (``LayerNorm2d`` is ``layernorm``).
        address : list
            Keys that lead from ``model._modules`` to the module; see `index_nested`.

    See Also
    --------
    index_nested : Fetch the module at an address.

    Notes
    -----
    A module that is registered at several places is listed once, at the first of them. A network
    that is itself a single layer has the empty address.

    No type ends in a digit, so that a label can be read in one way only: ``relu61`` is the 61st
    ``relu``, never the first ``relu6``.

    Examples
    --------
    >>> import pytorch_feature_analysis as pfa
    >>> from torch import nn
    >>> model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 2))
    >>> for label, address in pfa.fetch_layers(model).items():
    ...     print(label, address)
    ('conv1', 1) ['0']
    ('relu1', 2) ['1']
    ('flatten1', 3) ['2']
    ('fc1', 4) ['3']
    """
    return OrderedDict((layer.label, layer.address) for layer in layer_table(model))


def index_nested(the_item: Any, indices: Sequence[Any]) -> Any:
    """Follow an address into nested containers.

    Parameters
    ----------
    the_item : object
        Where the address starts; ``model._modules``, or the model itself, for an address of
        `fetch_layers`.
    indices : sequence
        The steps in order: ``('attr', name)`` takes an attribute, anything else indexes. The name
        of a module's child takes that child.

    Returns
    -------
    object
        What stands at the address.

    Raises
    ------
    LookupError
        Where a step leads nowhere; the step is named.

    See Also
    --------
    fetch_layers : The addresses of a network's layers.

    Examples
    --------
    >>> import pytorch_feature_analysis as pfa
    >>> from torch import nn
    >>> model = nn.Sequential(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()))
    >>> pfa.index_nested(model._modules, ['0', 1])
    ReLU()
    >>> pfa.index_nested({'shape': [3, 5]}, ['shape', 1])
    5
    """
    steps = check_sequence(indices, argument="indices", of="steps")
    item = the_item
    for position, step in enumerate(steps):
        try:
            if isinstance(step, tuple) and len(step) == 2 and step[0] == "attr":
                item = getattr(item, step[1])
            elif isinstance(item, nn.Module) and isinstance(step, str):
                item = item._modules[step]
            else:
                item = item[step]
        except (LookupError, AttributeError, TypeError) as error:
            raise LookupError(
                f"`indices` {steps!r} leads nowhere: step {position} ({step!r}) does not exist in"
                f" {type(item).__name__} ({error})."
            ) from error
    return item


def layer_table(model: nn.Module) -> list[LayerInfo]:
    """Return the layers of the address book in order, with module path and class name."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"`model` must be a torch.nn.Module, not {type(model).__name__}.")
    counts: Counter[str] = Counter()
    table = []
    for number, (path, module) in enumerate(_layers(model), start=1):
        layer_type = _layer_type(type(module).__name__)
        counts[layer_type] += 1
        table.append(
            LayerInfo(
                label=(f"{layer_type}{counts[layer_type]}", number),
                path=path,
                module_type=type(module).__name__,
                address=address_of(model, path),
            )
        )
    return table


def address_of(model: nn.Module, path: str) -> list[Any]:
    """Turn a module path ('features.0') into an address for `index_nested(model._modules, ...)`.

    A child of a Sequential or a ModuleList is an int where its name is its position; every other
    step is an attribute.
    """
    if not path:
        return []
    root, *steps = path.split(".")
    address: list[Any] = [root]
    module = model.get_submodule(root)
    for name in steps:
        by_position = isinstance(module, (nn.Sequential, nn.ModuleList))
        if by_position and name.isdecimal() and list(module._modules)[int(name) :][:1] == [name]:
            address.append(int(name))
        else:
            address.append(("attr", name))
        module = module.get_submodule(name)
    return address


def resolve_layers(
    model: nn.Module, which_layers: Sequence[Any], *, model_name: str
) -> list[LayerRequest]:
    """Find what the entries of `which_layers` name, in the order asked for, each once.

    An entry is a layer's name ('conv1'), its label (('conv1', 1)), a path of `named_modules()`
    ('layer4.2', whose label is ('layer4.2', number of the last layer inside it)), the image
    ('original_rgb'), or an earlier call of a reused module ('relu2@1'). Where a layer and a
    module path have the same name, the name means the layer; the label tells them apart.
    """
    entries = check_sequence(
        which_layers, argument="which_layers", of="layer names, labels or module paths"
    )
    table = layer_table(model)
    known: dict[LayerLabel, str | None] = {
        **_module_labels(model, table),
        **{layer.label: layer.path for layer in table},
        ORIGINAL_RGB: None,
    }
    by_name = {label[0]: label for label in known}  # of one name: image, layer, module path
    requests: dict[LayerLabel, LayerRequest] = {}
    for entry in entries:
        name, number = _read_entry(entry)
        base, call = _split_call(name) if name not in by_name else (name, None)
        label = by_name.get(base, ("", 0)) if number is None else (base, number)
        if label not in known or (call is not None and (call < 1 or label == ORIGINAL_RGB)):
            raise ValueError(_unknown_layer(entry, base, table, by_name, model_name))
        resolved = (name, label[1])
        requests[resolved] = LayerRequest(resolved, known[label], call)
    return list(requests.values())


def _layers(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    for path, module in model.named_modules():
        if ".parametrizations." in f".{path}.":  # parts of how a weight is computed
            continue
        has_children = any(
            not (name == "parametrizations" and parametrize.is_parametrized(module))
            for name, _ in module.named_children()
        )
        if has_children:
            if isinstance(module, (nn.modules.conv._ConvNd, nn.Linear)):
                yield path, module
        elif not isinstance(module, _CONTAINERS_WITHOUT_FORWARD):
            yield path, module


def _layer_type(class_name: str) -> str:
    lowered = class_name.lower()
    for layer_type, pattern in _TYPE_PATTERNS.items():
        if pattern.search(lowered):
            return layer_type
    plain = re.sub(r"\W|_", "", lowered)
    # "LayerNorm2d" ends in its dimensions; a type ending in a digit would make labels ambiguous.
    return re.sub(r"(?<=\D)[123]d$", "", plain).rstrip("0123456789") or "module"


def _module_labels(model: nn.Module, table: list[LayerInfo]) -> dict[LayerLabel, str]:
    """Label every module path that holds a layer: (path, number of the last layer inside)."""
    modules = dict(model.named_modules())
    numbers = {id(modules[layer.path]): layer.label[1] for layer in table}
    labels = {}
    for path, module in modules.items():
        if id(module) in numbers:
            inside = [numbers[id(module)]]
        else:
            inside = [numbers[id(part)] for part in module.modules() if id(part) in numbers]
        if path and inside and not isinstance(module, _CONTAINERS_WITHOUT_FORWARD):
            labels[(path, inside[-1])] = path
    return labels


def _read_entry(entry: Any) -> tuple[str, int | None]:
    if isinstance(entry, str):
        return entry, None
    if isinstance(entry, (tuple, list)) and len(entry) == 2 and isinstance(entry[0], str):
        try:
            return entry[0], operator.index(entry[1])
        except TypeError:
            pass
    raise TypeError(
        "`which_layers` must hold layer names ('conv1'), labels (('conv1', 1)) or module paths"
        f" ('features.0'), not {entry!r}."
    )


def _split_call(name: str) -> tuple[str, int | None]:
    """Split 'relu2@1' into ('relu2', 1); what is no call stays whole."""
    base, at, suffix = name.rpartition("@")
    return (base, int(suffix)) if at and suffix.isdecimal() else (name, None)


def _unknown_layer(
    entry: Any,
    base: str,
    table: list[LayerInfo],
    by_name: dict[str, LayerLabel],
    model_name: str,
) -> str:
    if base in by_name:
        label = by_name[base]
        hint = (
            f" Did you mean {label!r}?"
            if not isinstance(entry, str)
            else " Calls of a layer are counted from 1, and the image has none."
        )
    else:
        close = difflib.get_close_matches(base, by_name, n=1, cutoff=0.5)
        hint = f" Did you mean '{close[0]}'?" if close else ""
    listed = ", ".join(layer.label[0] for layer in table) or "(none)"
    return (
        f"`which_layers` names {entry!r} for model '{model_name}', which has no such layer.{hint}"
        f" Its layers are: {listed}. 'original_rgb' and module paths of `named_modules()` serve"
        " too."
    )
