"""URLs are written into lakes and logs: none may hold a secret."""

import pytest

from factory.errors import UsageError
from factory.storage import Storage
from factory.urls import check_url


@pytest.mark.parametrize(
    "url",
    [
        "s3://bucket/lake",
        "s3://bucket/who@where/a:b",
        "abfs://container@account.dfs.core.windows.net/lake",
        "hdfs://name-node:8020/lake",
        "memory:///lake",
        "file:///what?/is#this",
        "file:///100%/is%20this",
    ],
)
def test_a_url_that_holds_no_secret_is_taken(url: str) -> None:
    check_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "s3://AKID:hushhush@bucket/lake",
        "s3://AKID:hush/hush@bucket/lake",
        "s3://1234:567/hush@bucket/lake",
        "s3://hushhush@bucket/lake",
        "abfs://container:hush@account.dfs.core.windows.net/lake",
        "https://host/lake?token=hush",
        "https://host/lake#hush",
        "simplecache::s3://bucket/hush",
    ],
)
def test_a_url_that_may_hold_a_secret_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(UsageError, match=r"found a user, a password, a query.*by the env") as told:
        Storage(url)
    assert "hush" not in str(told.value)
    assert "AKID" not in str(told.value)


def test_a_url_with_an_escape_is_refused_for_it_would_name_two_folders() -> None:
    with pytest.raises(
        UsageError, match=r"^s3://b/our%20lake: found % in a URL; expected .*Rename the folder"
    ):
        Storage("s3://b/our%20lake")


def test_a_url_of_an_unknown_kind_is_named_with_the_way_out() -> None:
    with pytest.raises(
        UsageError, match=r"^nope://b/l: .*nope; expected a path, or a URL as s3://"
    ):
        Storage("nope://b/l")
