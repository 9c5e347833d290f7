"""What a structure is in a layout, by the names that people and vocabularies give it."""

import re
from collections.abc import Iterable

from factory.layouts import BACKGROUND, LUNG, NODULE

_LUNG = ("lung", "lobe", "lobus", "pulmo")
_NODULE = ("nodul", "lesion", "tumor", "tumour", "mass", "neoplas", "cancer", "carcinom", "gtv")
_NEITHER = (
    *("vessel", "vein", "arter", "trachea", "bronch", "airway", "fissure", "effusion"),
    *("lymph", "node", "gtvn", "igtv", "ptv", "ctv", "itv", "prv"),
    *("heart", "cardi", "aort", "esophag", "oesophag", "cord", "spin", "vertebr", "rib", "bone"),
    *("skin", "body", "breast", "chestwall", "diaphragm", "thymus", "thyroid", "brain"),
    *("frontal", "temporal", "parietal", "occipital", "caudate"),
    *("liver", "hepat", "kidney", "renal", "adren", "spleen", "pancrea", "stomach", "colon"),
)
_SUBTRACTED = re.compile(r"(?<=[a-z_ ])(?:-|minus|without)[-_ ]*(?:i?gtv|ctv|itv|ptv).*")
_LETTERS = re.compile(r"[a-z]+")
_NODES = re.compile(r"(?<![a-z])gtv[-_ ]?n(?![a-z])|(?<![a-z])gtv[-_ ]?nod")


def role_of(*names: str, regions: Iterable[str] = ()) -> int:
    """Return `LUNG`, `NODULE` or `BACKGROUND` for a structure of these names.

    Args:
        names: What it is called, and what else is said of what it is.
        regions: Where it lies. What lies in the lung is not the lung (a consolidation), and a
            lesion of another organ is no nodule; nothing else follows from them.

    A name counts by how its words begin, whatever their case. Lung: lung, lobe. Nodule:
    nodule, lesion, tumour, mass, neoplasm, cancer, carcinoma, GTV. A nodule's word outweighs
    a lung's ("lung nodule"). Neither: what names something else as well, such as lung
    vessels, a lymph node, the GTV of nodes (GTVn), a margin (CTV, ITV, PTV) or a liver lesion.
    "Lungs-GTV" is the lungs, as AAPM's TG-263 writes a difference.
    """
    text = " ; ".join(_SUBTRACTED.sub("", name.lower()) for name in names)
    words = _LETTERS.findall(text)
    places = _LETTERS.findall(" ; ".join(regions).lower())
    if _NODES.search(text) or any(word.startswith(_NEITHER) for word in (*words, *places)):
        return BACKGROUND
    if any(word.startswith(_NODULE) for word in words):
        return NODULE
    return LUNG if any(word.startswith(_LUNG) for word in words) else BACKGROUND
