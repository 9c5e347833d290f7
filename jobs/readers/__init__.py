"""Reading a manifest for training: torch, Ray Data, MONAI. Each loads its library when it is used.

ManifestDataset, collate     torch.utils.data: (ct, layout, row) by index, and batches of them
ray_dataset                  ray.data: a volume a row, read on the cluster's nodes
monai_datalist, load_item    dictionaries for monai.data, and the transform that reads them
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jobs.readers.datalist import load_item, monai_datalist
    from jobs.readers.ray_data import ray_dataset
    from jobs.readers.torch_data import ManifestDataset, collate

__all__ = ["ManifestDataset", "collate", "load_item", "monai_datalist", "ray_dataset"]

_MODULES = {
    "ManifestDataset": "torch_data",
    "collate": "torch_data",
    "load_item": "datalist",
    "monai_datalist": "datalist",
    "ray_dataset": "ray_data",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
