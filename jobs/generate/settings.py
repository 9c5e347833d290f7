"""What a sampler actor is told."""

from dataclasses import dataclass

from jobs.generate.config import GenerateConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplerSettings:
    """What an actor is built from; small and plain, for Ray keeps it."""

    lake_url: str
    cases_url: str
    model: str
    """Checkpoint folder, or its URL; empty where the synthesizer runs none."""
    model_digest: str
    nodules: str
    """Bank file, or crops where their tissue is taken; empty takes the embedded bank."""
    bank_digest: str
    layouts: str = ""
    """Folder of `factory layouts` that the plan draws after; empty for none."""
    steps: int
    """Reverse steps; 0 without a network."""
    seed: int
    """Of the run; `--seed`."""
    config: GenerateConfig
    device: str
    """`cpu` or `cuda`."""
    run_id: str
