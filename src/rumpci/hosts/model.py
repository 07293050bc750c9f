"""`model:` hosts: a guard over devices written in Python."""

from __future__ import annotations

from rumpci.errors import BadURL, HostRefused
from rumpci.guard import Guard
from rumpci.hosts.keys import bank_count, has_iommu, memory_size, scatter_seed
from rumpci.hosts.url import DeviceSpec, HostURL
from rumpci.load import load_classes
from rumpci.machines.model.device import Model
from rumpci.machines.model.machine import ModelMachine

BUILT_IN = {"edu": "rumpci.machines.model.edu", "ram": "rumpci.machines.model.ram"}
KEYS = ("memory", "iommu", "banks", "scatter")
_MEMORY_MIN, _MEMORY_MAX = 1 << 20, 3 << 30  # memory BARs begin at 3 GiB


def open_url(url: HostURL) -> Guard:
    """Plug in the URL's models.  Raises BadURL, DriverLoadError, HostRefused."""
    url.check_params(KEYS)
    memory = memory_size(url.params.get("memory", "64M"), _MEMORY_MIN, _MEMORY_MAX)
    iommu = has_iommu(url.params.get("iommu", "on"))
    banks = bank_count(url.params.get("banks", "0"))
    scatter = scatter_seed(url.params.get("scatter"))
    models = [_model(url, spec) for spec in url.devices()]
    machine = ModelMachine(models, url.text, memory=memory, iommu=iommu, banks=banks)
    return Guard(machine, scatter=scatter)


def _model(url: HostURL, spec: DeviceSpec) -> Model:
    try:
        return _class(url, spec)(**spec.props)
    except (TypeError, ValueError) as error:
        raise HostRefused(
            f"host {url.text!r}", f"model {spec.name!r}: {error}", "see the model's properties"
        ) from error


def _class(url: HostURL, spec: DeviceSpec) -> type[Model]:
    if spec.name in BUILT_IN:
        return load_classes(BUILT_IN[spec.name], Model)[-1]
    if not spec.name.endswith(".py"):
        have = ", ".join(BUILT_IN)
        raise BadURL(
            f"host {url.text!r}", f"no model {spec.name!r}", f"models: {have}, or a file's path.py"
        )
    return load_classes(spec.name, Model)[-1]
