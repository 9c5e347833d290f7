"""What a doctor is to look at."""

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """The flags of `factory doctor`, and what the workspace says where there are none."""

    cases: str | None = None
    """Case store, by path or URL; None looks at none."""

    out: str = "."
    """Folder or URL that volumes will be written to."""

    model: str = "demo"
    """Model to draw with: a folder, a URL, or one that ships."""

    device: str = "auto"
    """`auto`, `cpu` or `cuda`."""

    ray_address: str | None = None
    """Ray cluster to join; None looks at what a local one would take."""

    def to_text(self) -> str:
        """Return it for another process."""
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str) -> "Asked":
        """Return what `to_text` has written."""
        return cls(**json.loads(text))
