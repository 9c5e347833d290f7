"""`factory status`: how far a lake is, by its markers, and whether its manifest has caught up."""

from datetime import timedelta
from typing import TYPE_CHECKING

from factory.counted import counted
from jobs import options

if TYPE_CHECKING:
    from factory.lake import Lake


def command(lake: options.LakeArgument = None) -> None:
    """Show how far a lake is, without Ray.

    Counts what is planned, committed, quarantined and missing; may be asked
    while another process generates.

    \b
    Example:
        factory status lake
    """
    from factory.lake import MANIFEST
    from jobs.console import give, say
    from jobs.generate.synthesizers.traits import DEFAULT, synthesizer_of
    from jobs.lakes import open_lake, planned_items
    from jobs.workspace import place_of

    found = open_lake(place_of("lake", lake))
    planned = {item["work_id"] for item in planned_items(found)}
    committed = found.committed_ids() & planned
    quarantined = (found.quarantined_ids() & planned) - committed
    missing = len(planned) - len(committed) - len(quarantined)
    lacking = _lacking(found, planned - quarantined)
    for record in found.quarantined():
        say(f"quarantined: {record['message']}")
    if told := _progress(found):
        say(told)
    give(
        f"planned {len(planned)}\ncommitted {len(committed)}\nquarantined {len(quarantined)}\n"
        f"missing {missing}\npublished {'yes' if found.storage.exists(MANIFEST) else 'no'}"
    )
    synthesizer = synthesizer_of(found.identity() or {}, where=f"lake {found.url}")
    if synthesizer != DEFAULT:
        give(f"synthesizer {synthesizer}")
    _conclude(found, len(planned), missing, len(quarantined), lacking)


def _lacking(lake: "Lake", due: set[str]) -> str:
    """Return what is wrong with the manifest of a lake; empty where it names every volume that is due."""
    from factory.lake import MANIFEST
    from jobs.console import say
    from manifests.errors import ManifestError
    from manifests.read import read_manifest

    if not lake.storage.exists(MANIFEST):
        return "no manifest yet"
    try:
        listed = set(read_manifest(lake.storage.child(MANIFEST))["work_id"].to_pylist())
    except ManifestError as error:
        # The counts are of the markers, and hold without it.
        say(f"warning: {error}")
        return "the manifest cannot be read"
    unlisted = len(due - listed)
    return f"the manifest lacks {unlisted:,} of them" if unlisted else ""


def _conclude(lake: "Lake", planned: int, missing: int, quarantined: int, lacking: str) -> None:
    """Say what the counts mean, and what to run next.

    Args:
        lake: The lake.
        planned: Volumes of its plan.
        missing: Of them, those that are neither committed nor quarantined.
        quarantined: Of them, those that were given up.
        lacking: What is wrong with the manifest; empty where nothing is.
    """
    from jobs.console import command_line, conclude
    from jobs.generate.again import generate_line
    from jobs.workspace import from_here

    of_planned = f"of {counted(planned, 'planned volume')}"
    if missing or lacking:
        told = "; ".join(filter(None, (f"{missing:,} {of_planned} missing", lacking)))
        conclude(f"{told} (a run may be at work)", generate_line(lake))
        return
    whole = f"nothing {of_planned} is missing, and the manifest is of them all"
    part = (
        f"{quarantined:,} {of_planned} quarantined and none missing; the manifest is of the others"
    )
    conclude(part if quarantined else whole, command_line("factory verify", from_here(lake.url)))


def _progress(lake: "Lake") -> str:
    """Return what the newest run last told of itself; nothing of one that reached its end."""
    from factory.lake import PROGRESS

    try:
        told = lake.storage.read_json(PROGRESS)
        if not told["left"]:
            return ""
        left = told["seconds_left"]
        return (
            f"last heard of at {told['updated_at']}: {told['volumes_per_hour']:,.0f} volumes an hour, "
            f"{'unknown' if left is None else timedelta(seconds=left)} left, actors: {told['actors']}, "
            f"devices busy {told['device_share']:.0%} of the time"
        )
    except (OSError, LookupError, TypeError, ValueError):
        # It informs, and nothing depends on it.
        return ""
