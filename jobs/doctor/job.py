"""All that a doctor looks at, in turn.

python, packages, machine  here | torch, attention, sampler, Ray, places  each in its own process
"""

from collections.abc import Iterator

from jobs.console import progress
from jobs.doctor.alone import Named, run_alone, run_here
from jobs.doctor.asked import Asked
from jobs.doctor.finding import Finding

_HERE = (
    Named("packages", "jobs.doctor.packages:check"),
    Named("machine", "jobs.doctor.machine:check"),
)
_ALONE = (
    Named("torch", "jobs.doctor.torch_build:check", 120),
    Named("attention", "jobs.doctor.attention_kernel:check", 120),
    Named("sampler", "jobs.doctor.sampler:check", 300),
    Named(
        "ray",
        "jobs.doctor.ray_cluster:check",
        90,
        when_silent="Check --ray-address, RAY_ADDRESS and that `ray status` answers there; or leave --ray-address "
        "away, and a cluster of this machine is started.",
    ),
)
_OUT = Named("out", "jobs.doctor.places:check_out", 120)
_CASES = Named("cases", "jobs.doctor.places:check_cases", 120)


def examine(asked: Asked) -> Iterator[Finding]:
    """Make all checks, one after another: what is timed has the machine to itself.

    Args:
        asked: What is to be looked at.

    Yields:
        What was found. A check that fails, dies or hangs is a finding, too.
    """
    alone = [*_ALONE, _OUT, *([_CASES] if asked.cases else [])]
    total = len(_HERE) + len(alone)
    with progress("doctor", total) as tracker:
        for index, named in enumerate((*_HERE, *alone)):
            tracker.update(index, named.title)
            yield from (run_here if named in _HERE else run_alone)(named, asked)
        tracker.update(total)
