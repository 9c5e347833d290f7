"""Settings of the `generate` job."""

from dataclasses import asdict, dataclass, field
from typing import Any

from factory.nodules.place import PlacementConfig
from factory.quality.limits import QualityLimits
from jobs.generate.synthesizers.traits import DEFAULT, KNOWN, Traits, traits_of

SAMPLERS = ("ddpm", "ddim", "dpmpp_2m")
"""Those of `models.solvers`; named here so that `--help` need not load torch."""

FEW_STEPS = 25
"""Reverse steps that the samplers other than `ddpm` take where none are asked for."""

_CHOICES = {
    "synthesizer": tuple(KNOWN),
    "sampler": SAMPLERS,
    "variant": ("paper", "authors"),
    "blend": ("auto", "level", "start"),
    "sigma": ("posterior", "beta"),
    "precision": ("float32", "bfloat16"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerateConfig:
    """Settings of the `generate` job; the recipe `paper` has the paper's."""

    synthesizer: str = DEFAULT
    """What draws: `lung-ddpm`, the paper's; `med-ddpm`, the whole volume from the layout alone;
    `copy-paste`, real nodules in the donor's own lungs; `noise`, a floor."""

    sampler: str = "ddpm"
    """How a step is taken: `ddpm`, ancestral sampling; `ddim` or `dpmpp_2m`, few steps without noise."""

    steps: int = 0
    """Reverse steps, spread over the model's schedule; 0 takes all of them, or 25 of a few-step
    sampler."""

    variant: str = "paper"
    """`paper`: Algorithm 2; `authors`: the published code's loop: `ddpm`, clamped, all steps."""

    blend: str = "auto"
    """Where the reference enters a step: the volume at the `level` reached, or the predicted clean
    volume, the path's `start`; `auto` is `level` for `ddpm` and `start` for the others."""

    precision: str = "float32"
    """Of the network: `float32`, or `bfloat16` where the device computes in it."""

    compiled: bool = False
    """Compile the network when an actor starts, on CUDA into CUDA graphs: a minute or more."""

    clip_x0: bool = True
    """Clamp the predicted clean volume to the HU window at each step. The few-step samplers always
    do: unclamped, an error of the first prediction would grow some hundredfold."""

    sigma: str = "posterior"
    """Variance of the noise that a step of `ddpm` adds: `posterior` or `beta`."""

    num_threads: int = 1
    """CPU threads of a sampler actor. Fixed, because it moves the last bit of a float."""

    max_attempts: int = 3
    """Attempts that may die without a trace, in one run, before an item is given up."""

    max_seconds: float = 0.0
    """Longest that reading, drawing or writing an item may take before its process is ended and it
    is tried again; 0 means twenty times the longest so far in its process, at least ten minutes."""

    max_redraws: int = 0
    """Draws more, each with another seed, of an item whose volume quality control rejects."""

    rehearsal: bool = False
    """Write noise in place of what the network would draw, to try out a cluster and its storage.
    The volumes are rejected, and enter no mix."""

    rehearsal_seconds: float = 0.0
    """What a rehearsal takes for an item's time on the device."""

    placement: PlacementConfig = field(default_factory=PlacementConfig)
    """Nodules for cases that have none of their own."""

    quality: QualityLimits = field(default_factory=QualityLimits)
    """What quality control accepts of a volume."""

    def __post_init__(self) -> None:
        for name, known in _CHOICES.items():
            if getattr(self, name) not in known:
                raise ValueError(f"{name} is {getattr(self, name)!r}; known are {', '.join(known)}")
        if self.steps < 0:
            raise ValueError(f"steps is {self.steps}; it must be at least 1, or 0 for all")
        if self.num_threads < 1 or self.max_attempts < 1:
            raise ValueError("num_threads and max_attempts must be at least 1")
        for name in ("max_seconds", "max_redraws", "rehearsal_seconds"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 0")
        if self.variant == "authors":
            self._check_authors()
        if self.synthesizer == "med-ddpm":
            self._check_no_reference()

    def _check_authors(self) -> None:
        theirs = {"sampler": "ddpm", "steps": 0, "clip_x0": True, "sigma": "posterior"}
        changed = [name for name, value in theirs.items() if getattr(self, name) != value]
        if changed or self.blend == "start":
            name = changed[0] if changed else "blend"
            raise ValueError(
                f"variant is 'authors', the published loop, which has no {name} = "
                f"{getattr(self, name)!r}; leave that out, or take another recipe, such as fast"
            )

    def _check_no_reference(self) -> None:
        """Refuse settings of how the reference enters: it does not."""
        for name, usual in (("variant", "paper"), ("blend", "auto")):
            if getattr(self, name) != usual:
                raise ValueError(
                    f"synthesizer is 'med-ddpm', which sees no reference and has no {name} = "
                    f"{getattr(self, name)!r}; leave that out. The published loop without a reference "
                    "is sampler = 'ddpm' with the defaults"
                )

    @property
    def traits(self) -> Traits:
        """What the synthesizer needs and promises."""
        return traits_of(self.synthesizer)

    def num_steps(self, total: int) -> int:
        """Return the reverse steps that are taken of a model's `total`."""
        return self.steps or (total if self.sampler == "ddpm" else min(FEW_STEPS, total))

    @property
    def blend_taken(self) -> str:
        """What `auto` stands for, or what was asked for."""
        if self.blend != "auto":
            return self.blend
        return "level" if self.sampler == "ddpm" else "start"

    @property
    def clip_taken(self) -> bool:
        """Whether the predicted clean volume is clamped."""
        return self.clip_x0 or self.sampler != "ddpm"

    def as_asked(self) -> dict[str, Any]:
        """Return what changes voxels and is not the usual: ids of earlier releases stay as they are."""
        asked: dict[str, Any] = {"rehearsal": True} if self.rehearsal else {}
        if self.synthesizer != DEFAULT:
            asked["synthesizer"] = self.synthesizer
        if self.max_redraws:
            # What is rejected says which volume of several is kept.
            asked |= {"max_redraws": self.max_redraws, "quality": asdict(self.quality)}
        return asked

    @property
    def sampler_taken(self) -> str:
        """Synthesizer and sampler, the variant and the precision, where they are not the usual ones."""
        if self.rehearsal:
            return "rehearsal"
        if not self.traits.needs_model:
            return self.synthesizer
        synthesizer = "" if self.synthesizer == DEFAULT else f"{self.synthesizer} "
        variant = " authors" if self.variant == "authors" else ""
        precision = " bfloat16" if self.precision == "bfloat16" else ""
        return f"{synthesizer}{self.sampler}{variant}{precision}"
