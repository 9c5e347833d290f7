import pytest

from factory.attempts import item_is_to_blame
from factory.errors import StoreError
from factory.lake import Lake


@pytest.fixture
def lake(storage):
    """An empty lake, on disk and behind an fsspec URL."""
    return Lake(storage.url)


def write(lake: Lake, item: str, attempt: str) -> str:
    """Stand in for a volume: what counts here is the folder's name."""
    path = lake.volume_path(item, attempt)
    lake.storage.create_json(f"{path}/zarr.json", {})
    return path


def test_the_first_commit_stands_and_the_second_is_told_that_it_lost(lake):
    assert lake.commit("a", {"image_uri": "volumes/a.first.ome.zarr"}) is True
    assert lake.commit("a", {"image_uri": "volumes/a.second.ome.zarr"}) is False
    assert lake.committed_row("a") == {"image_uri": "volumes/a.first.ome.zarr"}
    assert lake.is_committed("a")
    assert not lake.is_committed("b")


def test_a_commit_whose_answer_was_lost_is_known_as_ones_own(lake):
    """A network file system may say that a link was in the way which the same call has made."""
    row = {"image_uri": "volumes/a.1.ome.zarr"}
    assert lake.commit("a", row)
    assert lake.commit("a", row)
    assert not lake.commit("a", {"image_uri": "volumes/a.2.ome.zarr"})


def test_a_commit_whose_input_has_changed_is_replaced(lake):
    lake.commit("a", {"image_uri": "volumes/a.old.ome.zarr"})
    lake.replace_commit("a", {"image_uri": "volumes/a.new.ome.zarr"})
    assert lake.committed_row("a") == {"image_uri": "volumes/a.new.ome.zarr"}
    assert lake.committed_ids() == {"a"}


def test_ids_with_dots_are_listed_whole(lake):
    for item in ("1.2.840.113", "a.json.b", "LIDC-IDRI-0042"):
        lake.commit(item, {})
        lake.quarantine(item, {})
    assert lake.committed_ids() == {"1.2.840.113", "a.json.b", "LIDC-IDRI-0042"}
    assert lake.quarantined_ids() == {"1.2.840.113", "a.json.b", "LIDC-IDRI-0042"}


def test_an_empty_lake_has_no_identity_and_no_items(lake):
    assert lake.identity() is None
    assert lake.committed_ids() == set()
    assert lake.quarantined() == []
    assert lake.sweep({}) == 0
    with pytest.raises(FileNotFoundError):
        lake.committed_row("a")


def test_the_first_claim_stands_and_later_ones_are_told_what_it_is(lake):
    assert lake.claim({"plan": "first"}) == {"plan": "first"}
    assert lake.claim({"plan": "second"}) == {"plan": "first"}
    assert lake.identity() == {"plan": "first"}


def test_attempts_are_counted_by_run(lake):
    attempts = {lake.attempts.start("a", "run1").attempt for _ in range(3)}
    lake.attempts.start("a", "run2")
    lake.attempts.start("a", "run11")
    lake.attempts.start("b", "run1")
    assert {died.attempt for died in lake.attempts.died("a", "run1")} == attempts
    assert len(attempts) == 3
    assert len(lake.attempts.died("a", "run2")) == 1
    assert lake.attempts.died("a", "run3") == []
    assert lake.attempts.items() == {"a", "b"}


def test_an_attempt_tells_where_it_ran_with_whom_and_why_it_was_ended(lake):
    alone = lake.attempts.start("a", "run", node_id="n1")
    lake.attempts.end(alone, "ran longer than 3 s")
    company = lake.attempts.start("b", "run", node_id="n2", alone=False)
    (told,) = lake.attempts.died("a", "run")
    assert (told.node_id, told.alone, told.ended) == ("n1", True, "ran longer than 3 s")
    assert lake.attempts.died("b", "run") == [company]
    lake.attempts.forget("a")
    assert lake.attempts.died("a", "run") == []


def test_an_attempt_of_an_earlier_release_says_nothing_and_counts(lake):
    lake.storage.create_json("attempts/a/run.0123456789ab", {})
    (old,) = lake.attempts.died("a", "run")
    assert item_is_to_blame(old, lost_nodes=set())


@pytest.mark.parametrize(
    ("alone", "lost", "to_blame"), [(True, "", True), (False, "", False), (True, "n1", False)]
)
def test_an_item_is_not_to_blame_for_a_lost_node_nor_for_its_neighbours(
    lake, alone, lost, to_blame
):
    attempt = lake.attempts.start("a", "run", node_id="n1", alone=alone)
    assert item_is_to_blame(attempt, {lost}) is to_blame


def test_two_attempts_never_write_to_one_volume(lake):
    paths = {lake.volume_path("a", lake.attempts.start("a", "run").attempt) for _ in range(20)}
    assert len(paths) == 20
    assert all(path.startswith("volumes/a.") and path.endswith(".ome.zarr") for path in paths)


def test_a_sweep_removes_the_losers_of_committed_items_and_nothing_else(lake):
    kept = write(lake, "a.1", "won")
    write(lake, "a.1", "lost")
    write(lake, "a.1", "died")
    # Another item whose id begins alike, and one that another run may be writing.
    other = write(lake, "a", "x")
    unfinished = write(lake, "a.1.2", "x")
    for item in ("a.1", "a"):
        lake.attempts.start(item, "run")
    lake.commit("a.1", {"image_uri": kept})
    assert lake.sweep({"a.1": kept}) == 2
    assert sorted(f"volumes/{name}" for name in lake.storage.names("volumes")) == sorted(
        [kept, other, unfinished]
    )
    assert lake.attempts.died("a.1", "run") == []
    assert len(lake.attempts.died("a", "run")) == 1


def test_a_sweep_keeps_what_another_run_has_committed_meanwhile(lake):
    write(lake, "a", "first")
    second = write(lake, "a", "second")
    lake.replace_commit("a", {"image_uri": second})
    assert lake.sweep({"a": ""}) == 1
    assert [f"volumes/{name}" for name in lake.storage.names("volumes")] == [second]


@pytest.mark.parametrize(
    "uri", ["volumes/../volumes/a.x.ome.zarr", "volumes/b.x.ome.zarr", "", None, "/volumes/a.x"]
)
def test_a_commit_that_names_no_volume_of_its_item_is_refused(lake, uri):
    """The sweep would take the item's own volume for a loser's."""
    write(lake, "a", "x")
    lake.commit("a", {"image_uri": uri})
    with pytest.raises(StoreError, match=r"found image_uri .*; expected volumes/a\.<attempt>"):
        lake.sweep({"a": ""})
    assert lake.storage.names("volumes") == ["a.x.ome.zarr"]


@pytest.mark.parametrize("record", ["[]", "3", "null"])
def test_a_record_that_is_no_object_is_refused(tmp_path, record):
    (tmp_path / "dataset.json").write_text(record)
    with pytest.raises(StoreError, match=r"dataset\.json: found .*; expected a JSON object"):
        Lake(tmp_path).identity()


def test_an_item_whose_commit_is_dropped_is_to_be_made_again(lake):
    lake.commit("a", {"image_uri": "gone"})
    lake.drop("a")
    assert not lake.is_committed("a")
    assert lake.commit("a", {"image_uri": "again"})


def test_sweeping_again_removes_nothing(lake):
    kept = write(lake, "a", "won")
    write(lake, "a", "lost")
    lake.commit("a", {"image_uri": kept})
    assert lake.sweep({"a": ""}) == 1
    assert lake.sweep({"a": ""}) == 0
    assert lake.is_committed("a")


def test_quarantine_keeps_the_newest_reason_and_lists_by_id(lake):
    lake.quarantine("b", {"id": "b", "reason": "torn"})
    lake.quarantine("a", {"id": "a", "reason": "no lung"})
    lake.quarantine("b", {"id": "b", "reason": "out of memory"})
    assert lake.quarantined() == [
        {"id": "a", "reason": "no lung"},
        {"id": "b", "reason": "out of memory"},
    ]


def test_items_released_from_quarantine_are_gone_and_others_stay(lake):
    for item in ("a", "b"):
        lake.quarantine(item, {})
    lake.release(["a", "never-quarantined"])
    assert lake.quarantined_ids() == {"b"}


@pytest.mark.parametrize(
    ("path", "read"),
    [
        ("dataset.json", Lake.identity),
        ("commits/a.json", lambda lake: lake.committed_row("a")),
        ("quarantine/a.json", Lake.quarantined),
    ],
)
@pytest.mark.parametrize(
    "content", [b'{"plan": ', b"", b"\xff\xfe"], ids=["torn", "empty", "bytes"]
)
def test_a_torn_record_is_named_with_the_way_out(tmp_path, path, read, content):
    file = tmp_path / path
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(content)
    with pytest.raises(StoreError, match=rf"{path}: found .*; expected a JSON object\. Remove"):
        read(Lake(tmp_path))
