"""The formats that volumes are exported in, by name."""

from jobs.export.formats import hf, monai, nifti, nnunet
from jobs.export.formats.format import Format

FORMATS: dict[str, Format] = {
    one.name: one for one in (nifti.FORMAT, nnunet.FORMAT, monai.FORMAT, hf.FORMAT)
}
"""By the name that `--format` takes."""
