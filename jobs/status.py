"""`factory status`: how far a lake is, read from its markers alone."""

from datetime import timedelta
from typing import TYPE_CHECKING

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
    published = found.storage.exists(MANIFEST)
    for record in found.quarantined():
        say(f"quarantined: {record['message']}")
    if told := _progress(found):
        say(told)
    give(
        f"planned {len(planned)}\ncommitted {len(committed)}\nquarantined {len(quarantined)}\n"
        f"missing {missing}\npublished {'yes' if published else 'no'}"
    )
    synthesizer = synthesizer_of(found.identity() or {}, where=f"lake {found.url}")
    if synthesizer != DEFAULT:
        give(f"synthesizer {synthesizer}")
    if missing or not published:
        say("Next: the same factory generate again, unless it runs; it goes on where it was")


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
