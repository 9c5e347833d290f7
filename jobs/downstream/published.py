"""Table III of Lung-DDPM (IEEE TBME 2025), as the authors' poster has it."""

from dataclasses import dataclass

NUM_REAL, NUM_CASES, SPECIFICITY = 800, 249, ".9999"
"""Real training volumes, test cases and specificity of every line."""

_SAME_EXTRA = 0.03
"""Synthetic volumes per real one, within which two mixes are told beside each other."""


@dataclass(frozen=True, slots=True)
class PublishedMix:
    """One line: Attention U-Net, trained on 800 real volumes and those of one generator."""

    num_synthetic: int
    generator: str
    dice: str
    """Mean over test cases; with its standard deviation where that is published."""
    sensitivity: str

    @property
    def title(self) -> str:
        """What a table calls it."""
        if not self.num_synthetic:
            return f"{NUM_REAL} R"
        return f"{NUM_REAL} R + {self.num_synthetic} S, {self.generator}"


PUBLISHED = (
    PublishedMix(0, "", ".3598 ± .0976", ".3704 ± .1094"),
    PublishedMix(183, "Make-A-Volume", ".3190", ".3290"),
    PublishedMix(183, "GEM-3D", ".2991", ".3487"),
    PublishedMix(183, "Med-DDPM", ".3537", ".4046"),
    PublishedMix(183, "Lung-DDPM", ".3908", ".4393"),
    PublishedMix(400, "Make-A-Volume", ".3196", ".3380"),
    PublishedMix(400, "GEM-3D", ".3852", ".4030"),
    PublishedMix(400, "Med-DDPM", ".3804", ".3835"),
    PublishedMix(400, "Lung-DDPM", ".3866", ".3917"),
    PublishedMix(800, "Make-A-Volume", ".3577", ".3674"),
    PublishedMix(800, "GEM-3D", ".3584", ".3891"),
    PublishedMix(800, "Med-DDPM", ".3638", ".3729"),
    PublishedMix(800, "Lung-DDPM", ".3914", ".4078"),
)


def beside(real_part: float, extra: float) -> tuple[str, str]:
    """Return Dice and sensitivity of the published mix that is like one of ours; empty of none.

    Args:
        real_part: Of all real volumes, those that ours asks for; NaN where that is not known.
        extra: Synthetic volumes per real one of ours.
    """
    if real_part != 1.0:
        return "", ""
    alike = (one for one in PUBLISHED if one.generator in {"", "Lung-DDPM"})
    for one in alike:
        published = one.num_synthetic / NUM_REAL
        if bool(published) == bool(extra) and abs(published - extra) <= _SAME_EXTRA:
            return one.dice, one.sensitivity
    return "", ""
