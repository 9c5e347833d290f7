"""Every error that a user can cause, and that they can do something about.

    FactoryError
    ├── UsageError            flags, recipe or paths that cannot be meant
    │   └── RecipeError       a recipe's table or key
    ├── CaseError             one case is unusable; the rest of the job goes on
    ├── StoreError            a case store, lake or manifest is not what it says
    │   └── PassingError      a store can't be reached now; an OSError too: the same later may do
    │       └── AccessError   a bucket refuses credentials, or there are none; tokens are renewed
    ├── ModelError            a checkpoint is missing, torn, or does not fit the cases
    └── ClusterError          Ray, or a resource that was asked for, is not there

A message says which case, what was found, what was expected (with units) and what to do.
"""


class FactoryError(Exception):
    """Root of the tree. The CLI prints it in one line and exits with `exit_code`."""

    exit_code = 1


class UsageError(FactoryError):
    """Flags, recipe or paths that cannot be meant; like Click, exits 2."""

    exit_code = 2


class RecipeError(UsageError):
    """A recipe has an unknown table or key, or a value of the wrong type."""


class CaseError(FactoryError):
    """One case is unusable; the rest of the job goes on."""

    def __init__(self, case_id: str, problem: str) -> None:
        super().__init__(f"case {case_id}: {problem}")
        self.case_id = case_id
        self.problem = problem

    def __reduce__(self) -> tuple[type["CaseError"], tuple[str, str]]:
        # Ray pickles errors to carry them between workers; the default rebuilds
        # from the formatted message and fails on two arguments.
        return type(self), (self.case_id, self.problem)


class StoreError(FactoryError):
    """A case store, a lake or a manifest is missing, torn, or made by other settings."""


class PassingError(StoreError, OSError):
    """A store can't be reached, or is taken, and that may pass: the same command later."""


class AccessError(PassingError, PermissionError):
    """A bucket takes no credentials, or not these."""


class ModelError(FactoryError):
    """A checkpoint is missing, torn, or does not fit the cases it is given."""


class ClusterError(FactoryError):
    """Ray, or a resource that was asked for, is not there."""
