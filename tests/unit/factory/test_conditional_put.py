"""What a server answers to a conditional put, and who then made the object."""

from typing import Any

import pytest

from factory import conditional_put
from factory.conditional_put import put_if_absent
from factory.errors import PassingError, StoreError
from factory.lake import Lake
from factory.storage import Storage


class ClientError(Exception):
    """As botocore's: carries the response."""

    def __init__(self, status: int) -> None:
        super().__init__(str(status))
        self.response = {"ResponseMetadata": {"HTTPStatusCode": status}}


class Server:
    """A bucket that answers as it is told; 200 and "lost" put, if the condition holds."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.objects: dict[str, tuple[bytes, dict[str, str]]] = {}
        self.conditions: list[str] = []

    def split_path(self, path: str) -> tuple[str, str, None]:
        bucket, key = path.split("/", 1)
        return bucket, key, None

    def call_s3(self, method: str, *, Key: str, **given: Any) -> dict[str, Any]:
        if method == "head_object":
            if Key not in self.objects:
                raise FileNotFoundError(Key)
            return {"Metadata": self.objects[Key][1]}
        self.conditions.append(given["IfNoneMatch"])
        answer = self.answers.pop(0) if self.answers else 200
        if answer in (200, "lost"):
            if Key in self.objects:
                raise OSError(22, "exists") from ClientError(412)
            self.objects[Key] = given["Body"], given["Metadata"]
            if answer == 200:
                return {}
            # What the client does by itself: it asks again.
            return self.call_s3(method, Key=Key, **given)
        raise OSError(5, "no") from ClientError(answer)


@pytest.fixture(autouse=True)
def _without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conditional_put.time, "sleep", lambda _: None)


def put(server: Server, data: bytes = b"{}") -> bool:
    return put_if_absent(server, "bucket/lake/commits/a.json", data)


def test_of_two_puts_the_first_stays() -> None:
    server = Server()
    assert (put(server, b"1"), put(server, b"2")) == (True, False)
    assert server.objects["lake/commits/a.json"][0] == b"1"
    assert set(server.conditions) == {"*"}


def test_equal_contents_have_one_winner_all_the_same() -> None:
    server = Server()
    assert (put(server), put(server)) == (True, False)


def test_a_put_whose_answer_was_lost_is_not_taken_for_another_s() -> None:
    server = Server("lost")
    assert put(server) is True
    assert put(server) is False


def test_a_conflict_is_asked_again_until_it_is_decided() -> None:
    assert put(Server(409, 409)) is True
    server = Server()
    put(server)
    server.answers = [409]
    assert put(server) is False


def test_a_conflict_without_end_is_told_as_one_that_may_pass() -> None:
    told = r"s3://bucket/lake/commits/a\.json: .*in the way 6 times.*Run the same command again"
    with pytest.raises(PassingError, match=told):
        put(Server(*[409] * 6))


def test_a_server_without_conditional_puts_is_told_with_the_way_out() -> None:
    with pytest.raises(StoreError, match=r"a\.json: the server answered 501 .*Use Amazon S3 or"):
        put(Server(501))


def test_any_other_refusal_is_passed_on() -> None:
    with pytest.raises(OSError, match="no"):
        put(Server(507))


def test_a_server_that_ignores_conditions_is_found_when_a_lake_is_made(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setattr(Storage, "_create_remote", lambda *_: True)
    lake = Lake(f"memory://{tmp_path.name}/lake")
    with pytest.raises(StoreError, match=r"lake: the server wrote over an object .* expected one"):
        lake.claim({"kind": "lake"})
