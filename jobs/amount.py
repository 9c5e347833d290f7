"""How many synthetic volumes: a share, a number per real one, or a number."""

from dataclasses import asdict, dataclass

from factory.errors import UsageError

MOST = 10_000_000
"""Volumes that one plan may have: it is held in memory."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Amount:
    """Exactly one of the three."""

    ratio: float | None = None
    """Synthetic share of the mixed set, in [0, 1)."""

    extra: float | None = None
    """Synthetic volumes per real one."""

    count: int | None = None
    """Synthetic volumes."""

    def __post_init__(self) -> None:
        self.of(1)

    def given(self) -> dict[str, float | int]:
        """Return the one that is given, by name."""
        return {key: value for key, value in asdict(self).items() if value is not None}

    def of(self, num_real: int) -> int:
        """Return how many synthetic volumes this means beside `num_real` training volumes.

        Raises:
            UsageError: None or several are given, or the number is outside its range.
        """
        from manifests.errors import ManifestError
        from manifests.mix import synthetic_count

        try:
            count = synthetic_count(num_real, **self.given())
        except ManifestError as error:
            raise UsageError(str(error)) from error
        if count > MOST:
            raise UsageError(
                f"asked for {count} synthetic volumes; expected at most {MOST} in one lake. Ask for "
                "fewer, or make several lakes with different --seed."
            )
        return count
