"""Word from the cluster that a node of the run is about to be taken away."""

import time

_SECONDS_BETWEEN_LOOKS = 2.0


class PreemptionNotice:
    """Asks for the word now and then, on all workers alike.

    Asking takes a round over all workers, and each must ask equally often. So a worker whose time
    has come raises a flag, the flags travel with the loss, and where one was raised all ask.
    """

    def __init__(self) -> None:
        self._asked = time.monotonic()
        self._known: set[str] = set()

    def is_due(self) -> bool:
        """Tell whether this worker wants to ask."""
        return time.monotonic() - self._asked > _SECONDS_BETWEEN_LOOKS

    def is_new(self) -> bool:
        """Ask; tell whether a node is leaving that was not before. All workers must call this."""
        import ray.train

        # Ray Train hands what rank 0 has heard to all: they decide alike.
        info = ray.train.get_preemption_info()
        self._asked = time.monotonic()
        leaving = set(info.preempted_node_ids) if info else set()
        new = leaving - self._known
        self._known |= leaving
        return bool(new)
