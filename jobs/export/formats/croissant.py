"""`croissant.json`: the dataset in the words of Croissant 1.1 (MLCommons), with W3C PROV-O provenance."""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from factory.digests import sha256_of_file
from jobs.export.formats.format import NOT_ANONYMISED, About, Exported
from manifests.schema import DESCRIPTION

CONFORMS_TO = "http://mlcommons.org/croissant/1.1"

_TERMS = [
    "annotation",
    "arrayShape",
    "citeAs",
    "column",
    "containedIn",
    "equivalentProperty",
    "excludes",
    "extract",
    "field",
    "fileProperty",
    "fileObject",
    "fileSet",
    "format",
    "includes",
    "isArray",
    "isLiveDataset",
    "jsonPath",
    "key",
    "md5",
    "parentField",
    "path",
    "recordSet",
    "references",
    "regex",
    "repeated",
    "replace",
    "samplingRate",
    "readLines",
    "sdVersion",
    "separator",
    "source",
    "subField",
    "transform",
    "unArchive",
    "value",
]
"""Of Croissant, which the context names without their prefix (appendix 1 of its specification)."""

_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "prov": "http://www.w3.org/ns/prov#",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    **{term: f"cr:{term}" for term in _TERMS},
}
_CITE_AS = (
    "Jiang, Lemarechal, Bafaro et al.: Lung-DDPM: Semantic Layout-guided Diffusion Models for Thoracic CT "
    "Image Synthesis. IEEE Transactions on Biomedical Engineering, 2025."
)
_RECORDS = "volumes"
_PROVENANCE = {
    # The donor's voxels, the scan's files, and the model: of each volume, by their digests.
    "reference_sha256": "prov:wasDerivedFrom",
    "source_sha256": "prov:hadPrimarySource",
    "model_digest": "prov:wasAttributedTo",
}


def croissant(
    out: Path,
    tables: Sequence[Path],
    schema: pa.Schema,
    exported: Sequence[Exported],
    about: About,
) -> dict[str, Any]:
    """Describe a dataset folder.

    Args:
        out: The folder; every path is told relative to it.
        tables: Parquet files of one schema, a row a volume.
        schema: Theirs.
        exported: The volumes.
        about: What is said of the whole.
    """
    published = _published(exported)
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "name": about.name,
        "description": "Chest CT in Hounsfield units with layouts of lungs and nodules, real and synthetic. "
        + NOT_ANONYMISED,
        "conformsTo": CONFORMS_TO,
        "license": _license(about.license),
        "url": f"urn:sha256:{about.manifest_sha256}",
        "creator": {
            "@type": "sc:Organization",
            "name": f"not stated; exported by {about.made_by}",
        },
        "datePublished": published,
        "version": "1.0.0",
        "isLiveDataset": False,
        "citeAs": _CITE_AS,
        "keywords": ["computed tomography", "lung", "pulmonary nodule", "synthetic data"],
        "prov:wasDerivedFrom": {"@id": f"urn:sha256:{about.manifest_sha256}"},
        "prov:wasAttributedTo": {
            "@type": "prov:SoftwareAgent",
            "prov:label": about.made_by,
        },
        "prov:wasGeneratedBy": list(_activities(exported)),
        "distribution": [*_files(out, tables), *_file_sets()],
        "recordSet": [_records(tables, schema)],
    }


def _published(exported: Sequence[Exported]) -> str:
    """Return the day of the newest volume: an export that runs again writes the same file."""
    days = [one.row["created_at"].date() for one in exported if one.row["created_at"]]
    newest: date = max(days, default=datetime.now(UTC).date())
    return newest.isoformat()


def _license(name: str) -> str:
    return name if name == "unknown" else f"https://spdx.org/licenses/{name}.html"


def _activities(exported: Sequence[Exported]) -> Iterator[dict[str, Any]]:
    """Yield what volumes were made by: scans that were ingested, and each way of drawing."""
    real = sum(not one.item.is_synthetic for one in exported)
    if real:
        yield _activity(f"factory ingest: {real} real scans")
    keys = ("sampler", "steps", "model_digest")
    ways = Counter(tuple(one.row[key] for key in keys) for one in exported if one.item.is_synthetic)
    for (sampler, steps, model), count in sorted(ways.items(), key=str):
        made = _activity(
            f"factory generate: {count} volumes, {sampler or 'unknown'}, {steps or 0} steps"
        )
        if model:
            made["prov:used"] = {"@id": f"urn:ct-factory:model:{model}"}
        yield made


def _activity(label: str) -> dict[str, Any]:
    return {"@type": "prov:Activity", "prov:label": label}


def _files(out: Path, tables: Sequence[Path]) -> Iterator[dict[str, Any]]:
    for path in tables:
        name = path.relative_to(out).as_posix()
        yield {
            "@type": "cr:FileObject",
            "@id": name,
            "name": path.stem,
            "contentUrl": name,
            "contentSize": f"{path.stat().st_size} B",
            "encodingFormat": "application/x-parquet",
            "sha256": sha256_of_file(path),
        }


def _file_sets() -> Iterator[dict[str, Any]]:
    for name, meaning in (("images", "CT in HU, int16"), ("layouts", "Labels 0, 1 and 2, uint8")):
        yield {
            "@type": "cr:FileSet",
            "@id": name,
            "name": name,
            "description": f"{meaning}, as NIfTI.",
            "encodingFormat": "application/gzip",
            "includes": f"{name}/*/*.nii.gz",
        }
    yield {
        "@type": "cr:FileSet",
        "@id": "tables",
        "name": "tables",
        "description": "A row a volume.",
        "encodingFormat": "application/x-parquet",
        "includes": "data/*.parquet",
    }


def _records(tables: Sequence[Path], schema: pa.Schema) -> dict[str, Any]:
    return {
        "@type": "cr:RecordSet",
        "@id": _RECORDS,
        "name": _RECORDS,
        "description": f"A record a volume, of {len(tables)} files by split.",
        "key": {"@id": f"{_RECORDS}/name"},
        "field": [_field(field) for field in schema if _data_type(field.type)],
    }


def _field(field: pa.Field) -> dict[str, Any]:
    name = f"{_RECORDS}/{field.name}"
    found = {
        "@type": "cr:Field",
        "@id": name,
        "name": field.name,
        "description": (field.metadata or {}).get(DESCRIPTION, b"").decode(),
        "dataType": _data_type(field.type),
        "source": {"fileSet": {"@id": "tables"}, "extract": {"column": field.name}},
    }
    if pa.types.is_list(field.type):
        found |= {"isArray": True, "arrayShape": "-1"}
    if field.name in _PROVENANCE:
        found["equivalentProperty"] = _PROVENANCE[field.name]
    return found


def _data_type(kind: pa.DataType) -> str:
    """Return Croissant's word for a column's type; empty for a list of records, which it reads from Parquet."""
    if pa.types.is_list(kind):
        kind = kind.value_type
    for test, word in (
        (pa.types.is_string, "sc:Text"),
        (pa.types.is_boolean, "sc:Boolean"),
        (pa.types.is_integer, "sc:Integer"),
        (pa.types.is_floating, "sc:Float"),
    ):
        if test(kind):
            return word
    return ""
