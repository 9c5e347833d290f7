import pickle
import re

import pytest

import factory.errors
from factory.errors import (
    AccessError,
    CaseError,
    ClusterError,
    FactoryError,
    ModelError,
    PassingError,
    RecipeError,
    StoreError,
    UsageError,
)


def all_errors() -> list[type[FactoryError]]:
    """Every class of the module, from its namespace: a subclass elsewhere is no concern here."""
    return [
        value
        for value in vars(factory.errors).values()
        if isinstance(value, type) and issubclass(value, Exception)
    ]


def drawn_tree() -> dict[str, str]:
    """Parent of each class as the docstring draws them."""
    lines = re.findall(r"^ {4}([│ ├└─]*)(\w+Error)\b", factory.errors.__doc__, re.MULTILINE)
    parents, path = {}, []
    for branch, name in lines:
        depth = len(branch) // 4
        path[depth:] = [name]
        parents[name] = path[depth - 1] if depth else "Exception"
    return parents


def test_the_docstring_draws_the_tree_that_there_is():
    assert drawn_tree() == {error.__name__: error.__bases__[0].__name__ for error in all_errors()}


def test_all_that_a_user_can_cause_is_caught_by_one_name():
    assert len(all_errors()) == 9
    assert all(issubclass(error, FactoryError) for error in all_errors())


@pytest.mark.parametrize("error", [PassingError, AccessError])
def test_what_may_pass_is_caught_as_trouble_of_the_store_and_of_the_system(error):
    for name in (PassingError, StoreError, OSError):
        with pytest.raises(name, match=r"^no answer$"):
            raise error("no answer")


def made(error: type[FactoryError]) -> FactoryError:
    return error("LIDC-IDRI-0042", "no lung") if error is CaseError else error("no such file")


@pytest.mark.parametrize("error", all_errors())
def test_an_error_arrives_whole_from_another_process(error):
    sent = made(error)
    arrived = pickle.loads(pickle.dumps(sent))
    assert type(arrived) is error
    assert str(arrived) == str(sent)
    assert vars(arrived) == vars(sent)


def test_a_case_error_names_its_case_once_also_after_a_journey():
    arrived = pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(made(CaseError)))))
    assert str(arrived) == "case LIDC-IDRI-0042: no lung"
    assert (arrived.case_id, arrived.problem) == ("LIDC-IDRI-0042", "no lung")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (FactoryError, 1),
        (CaseError, 1),
        (StoreError, 1),
        (PassingError, 1),
        (AccessError, 1),
        (ModelError, 1),
        (ClusterError, 1),
        (UsageError, 2),
        (RecipeError, 2),
    ],
)
def test_usage_errors_exit_2_like_clicks_and_all_others_1(error, code):
    assert error.exit_code == code


def test_case_errors_survive_the_way_between_processes() -> None:
    error = CaseError("a", "found x; expected y. Do z.")
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.case_id) == ("case a: found x; expected y. Do z.", "a")
