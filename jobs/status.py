"""`factory status`: how far a lake is, read from its markers alone."""

from jobs import options


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
    from jobs.lakes import open_lake, planned_items
    from jobs.workspace import path_of

    found = open_lake(path_of("lake", lake))
    planned = {item["work_id"] for item in planned_items(found)}
    committed = found.committed_ids() & planned
    quarantined = (found.quarantined_ids() & planned) - committed
    missing = len(planned) - len(committed) - len(quarantined)
    published = found.storage.exists(MANIFEST)
    for record in found.quarantined():
        say(f"quarantined: {record['message']}")
    give(
        f"planned {len(planned)}\ncommitted {len(committed)}\nquarantined {len(quarantined)}\n"
        f"missing {missing}\npublished {'yes' if published else 'no'}"
    )
    if missing or not published:
        say("Next: the same factory generate again; it goes on where it was")
