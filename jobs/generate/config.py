"""Settings of the `generate` job."""

from dataclasses import dataclass, field

from factory.nodules.place import PlacementConfig

SAMPLERS = ("ddpm",)


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerateConfig:
    """Settings of the `generate` job; the defaults are the paper's."""

    sampler: str = "ddpm"
    """How a step is taken: `ddpm`, ancestral sampling."""

    steps: int = 0
    """Reverse steps, equally spaced on the model's schedule; 0 takes all of them."""

    clip_x0: bool = True
    """Clamp the predicted clean volume to the HU window at each step."""

    sigma: str = "posterior"
    """Variance of the noise that a step adds: `posterior` or `beta`."""

    num_threads: int = 1
    """CPU threads of a sampler actor. Fixed, because it moves the last bit of a float."""

    max_attempts: int = 3
    """Attempts that may die without a trace, in one run, before an item is given up."""

    placement: PlacementConfig = field(default_factory=PlacementConfig)
    """Nodules for cases that have none of their own."""

    def __post_init__(self) -> None:
        if self.sampler not in SAMPLERS:
            raise ValueError(f"sampler is {self.sampler!r}; known are {', '.join(SAMPLERS)}")
        if self.sigma not in ("posterior", "beta"):
            raise ValueError(f"sigma is {self.sigma!r}; known are posterior, beta")
        if self.steps < 0:
            raise ValueError(f"steps is {self.steps}; it must be at least 1, or 0 for all")
        if self.num_threads < 1 or self.max_attempts < 1:
            raise ValueError("num_threads and max_attempts must be at least 1")
