"""The evaluation's tables in the paper's form, as Markdown.

table2      a line a set and region, and the floor, over the published rows; all figures below
table4      the ablations, by how each set was drawn
"""

from collections.abc import Mapping, Sequence

from jobs.evaluate.ablations import ABLATIONS
from jobs.evaluate.extractors import Scale
from jobs.evaluate.figures import REGIONS, Figure
from jobs.evaluate.names import REAL
from jobs.evaluate.slices import RADIMAGENET
from jobs.markdown_table import head, line

PUBLISHED = {
    "HA-GAN": (".0403 / .1063 / .1081", ".0510 / .1277 / .0834"),
    "Pix2pix3D": (".0346 / .0217 / .0712", ".0129 / .0497 / .0581"),
    "Med-DDPM": (".0464 / .6806 / .0707", ".0371 / .4039 / .0767"),
    "Make-A-Volume": (".1497 / 1.4442 / .1143", ".0652 / .5463 / .1072"),
    "GEM-3D": (".0557 / .6312 / .1484", ".0313 / .2897 / .0803"),
    "Lung-DDPM": (
        ".0047 ± .0080 / .0070 ± .0002 / .0024 ± .0000",
        ".0083 ± .0077 / .0240 ± .0011 / .0032 ± .0000",
    ),
}
"""FID / MMD / MSE on IUCPQ and on LIDC-IDRI: Table II of Lung-DDPM (IEEE TBME 2025)."""

_HEADINGS = (
    "set",
    "region",
    "n",
    "FID",
    "MMD²",
    "MSE",
    "published: IUCPQ",
    "published: LIDC-IDRI",
)

_NOT_KNOWN = "not known"


def table2(
    figures: Sequence[Figure],
    sets: Sequence[str],
    extractor: str,
    *,
    scale: Scale,
    grid: Sequence[int],
    notes: Sequence[str] = (),
) -> str:
    """Return Table II, with the other figures and notes below.

    Args:
        figures: All that were told.
        sets: Names of the synthetic sets, in order.
        extractor: Name of what made the features.
        scale: Of the extractor.
        grid: (z, y, x) voxels of the volumes.
        notes: Sentences on single sets.
    """
    lines = [
        "# Table II: fidelity",
        "",
        *_caption(extractor, grid),
        "",
        *head(_HEADINGS),
        *(one for name in sets for one in _lines_of(figures, name, _label(name, sets))),
        *_floor_lines(figures),
        *(
            line(f"{name}, published", "whole", "", "", "", "", *columns)
            for name, columns in PUBLISHED.items()
        ),
        "",
        "Published columns: FID / MMD / MSE of Table II of Lung-DDPM (IEEE TBME 2025).",
        "",
        *_comparable(scale, grid),
        *_of_slices(figures),
        *_of_several(sets),
        *(f"- {note}." for note in notes),
        "",
        "## All figures",
        "",
        *head(("set", "figure", "region", "value", "n", "note")),
        *(
            line(
                one.of,
                one.name,
                one.region,
                str(one.interval),
                str(one.n),
                one.note.replace("|", "/"),
            )
            for one in figures
        ),
        "",
    ]
    return "\n".join(lines)


def table4(
    figures: Sequence[Figure],
    ablations: Mapping[str, str],
    extractor: str,
    *,
    grid: Sequence[int],
) -> str:
    """Return Table IV: what the reference and the lung layout each bring.

    Args:
        figures: All that were told.
        ablations: For each set that is one, by name, which of `ABLATIONS` it is.
        extractor: Name of what made the features.
        grid: (z, y, x) voxels of the volumes.
    """
    lines = [
        "# Table IV: ablations",
        "",
        *_caption(extractor, grid),
        "",
        *head(("drawn", "set", "region", "n", "FID", "MMD²", "MSE", "published")),
    ]
    for ablation, meaning in ABLATIONS.items():
        names = [name for name, found in ablations.items() if found == ablation]
        lines += [
            line(meaning, name, region, *_cells(figures, name, region), _NOT_KNOWN)
            for name in names
            for region in REGIONS
        ]
        if not names:
            lines.append(line(meaning, "no set given", *["-"] * 5, _NOT_KNOWN))
    return "\n".join(
        [
            *lines,
            *(
                line("real against real", REAL, region, *_floor_cells(figures, region), "")
                for region in REGIONS
            ),
            "",
            "- The published figures of Table IV of Lung-DDPM (IEEE TBME 2025) are not part of this package, and "
            "none are put in their place: set the paper's own beside these.",
            "- Whole volumes with AAS are the donor's outside the lungs, voxel by voxel, and those without are "
            "not: compare the lungs to see what the network learned, the whole to see what AAS saves.",
            "- Sets of one recipe and seed, of about as many volumes and of the same donors, compare best: a "
            "Fréchet distance falls as the number of volumes grows.",
            "",
        ]
    )


def _caption(extractor: str, grid: Sequence[int]) -> list[str]:
    size = " x ".join(map(str, grid))
    return [
        f"Features of `{extractor}`; volumes of {size} voxels; each figure with its 95 % interval, a floor "
        "with its range."
    ]


def _label(name: str, sets: Sequence[str]) -> str:
    return "**this set**" if len(sets) == 1 else f"**{name}**"


def _lines_of(figures: Sequence[Figure], name: str, label: str) -> list[str]:
    cells = {region: _cells(figures, name, region) for region in (*REGIONS, "nodule", "outside")}
    told = {one.region for one in figures if (one.of, one.name) == (name, "mse")}
    return [
        line(label, region, *found, "", "")
        for region, found in cells.items()
        if region in told.union(REGIONS)
    ]


def _floor_lines(figures: Sequence[Figure]) -> list[str]:
    return [
        line("real against real", region, *_floor_cells(figures, region), "", "")
        for region in REGIONS
    ]


def _cells(figures: Sequence[Figure], name: str, region: str) -> tuple[str, ...]:
    """Return n, FID, MMD² and MSE of a set."""
    return _cells_of(figures, name, region, ("fid", "mmd_squared", "mse"))


def _floor_cells(figures: Sequence[Figure], region: str) -> tuple[str, ...]:
    return *_cells_of(figures, REAL, region, ("fid_real_to_real", "mmd_squared_real_to_real")), "-"


def _cells_of(
    figures: Sequence[Figure], of: str, region: str, names: Sequence[str]
) -> tuple[str, ...]:
    told = {one.name: one for one in figures if (one.of, one.region) == (of, region)}
    found = [told[name] for name in names if name in told]
    cells = [str(told[name].interval) if name in told else "-" for name in names]
    return str(max((one.n for one in found), default="-")), *cells


def _of_slices(figures: Sequence[Figure]) -> list[str]:
    told = [one.extractor for one in figures if one.name.startswith("fid_2_5d")]
    if not told:
        return []
    if told[0].startswith(RADIMAGENET):
        meaning = (
            "It is MAISI's 2.5-D distance, if the weights are RadImageNet's as their names say, but for the "
            "grid, which is the real set's here and 1 mm in a box of 512^3 there"
        )
    else:
        meaning = (
            "Its weights are named as torchvision's of ImageNet are, and so on no published scale"
        )
    return [
        f"- `fid_2_5d` is on another scale than the FID of the table. {meaning}: compare sets of one grid."
    ]


def _of_several(sets: Sequence[str]) -> list[str]:
    if len(sets) < 2:
        return []
    return [
        "- Sets are comparable where they have about as many volumes, n: a Fréchet distance falls as that "
        "number grows. Whether one is better than another, intervals that do not overlap say; of sets drawn "
        "by one training run they say nothing of another."
    ]


def _comparable(scale: Scale, grid: Sequence[int]) -> list[str]:
    if scale is Scale.OWN:
        first = (
            "- **FID and MMD are comparable with no published figure.** The extractor is a network of fixed "
            "random weights: its scale is its own. Compare sets that this command measured with the same "
            "extractor, on the same grid and of about as many volumes, and each with its floor."
        )
    elif set(grid) == {128}:
        whose = (
            "FID is on the scale of the published column"
            if scale is Scale.PUBLISHED
            else "**If the weights are the `resnet_50.pth` of MedicalNet's authors, which their digest does not "
            "show,** FID is on the scale of the published column"
        )
        first = (
            f"- {whose}: MedicalNet's ResNet-50 at 128^3, HU clipped and mapped as in HA-GAN's script. Unlike "
            "there, slices that are all air are kept and nothing is resized. The real sets differ, and so do "
            "the numbers of volumes, which a Fréchet distance falls with."
        )
    else:
        whose = "" if scale is Scale.PUBLISHED else ", if the weights are its authors',"
        first = (
            f"- FID is of MedicalNet's ResNet-50{whose} as in the published column, but on another grid than its "
            "128^3, which moves the features: compare sets of one grid only."
        )
    return [
        first,
        "- MMD² is the unbiased estimate with the kernel that is named below; the published ones do not name "
        "theirs. An order of models may be compared, values may not.",
        "- MSE of the whole volume is small for whatever copies what is outside the lungs; read the one of the "
        "lungs, where lower is not better either: a new lung has other vessels than its donor.",
        "- A set is good where its figure is about that of real against real, which is of half as many "
        "volumes and so a little higher than it would be of all.",
    ]
