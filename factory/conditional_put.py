"""Create-if-absent on S3: one conditional put, and what its answer means.

200    this call made the object
412    there is one: another's, or this call's own, whose answer was lost on the way
409    another write or removal is under way: nothing is decided, so ask again
501    the server knows no conditions
"""

import time
import uuid
from typing import Any

from factory.errors import PassingError, StoreError

_WRITER = "ct-factory-writer"
_TRIES = 6
_CONFLICT, _EXISTS, _NOT_IMPLEMENTED = 409, 412, 501


def put_if_absent(filesystem: Any, path: str, data: bytes) -> bool:
    """Put an object unless there is one; return whether this call made it.

    A client that gets no answer asks again, and is then told that the object exists. So each call
    signs what it puts, in the object's metadata, and knows its own again.

    Args:
        filesystem: An `s3fs.S3FileSystem`.
        path: Bucket and key.
        data: Content.

    Raises:
        StoreError: The server does not answer conditional puts.
        PassingError: It never decides this one.
        OSError: It was reached, and refused for another reason.
    """
    bucket, key, _ = filesystem.split_path(path)
    writer = uuid.uuid4().hex
    for tried in range(_TRIES):
        try:
            filesystem.call_s3(
                "put_object",
                Bucket=bucket,
                Key=key,
                Body=data,
                Metadata={_WRITER: writer},
                IfNoneMatch="*",
            )
        except OSError as error:
            if (status := _status(error)) == _NOT_IMPLEMENTED:
                raise _without_conditions(path) from error
            if status not in (_CONFLICT, _EXISTS):
                raise
        else:
            return True
        if (found := _writer_of(filesystem, bucket, key)) is not None:
            return found == writer
        time.sleep(0.05 * 2**tried)
    raise PassingError(
        f"s3://{path}: found other writers in the way {_TRIES} times; expected one of them to end. Run "
        "the same command again."
    )


def ignores_conditions(url: str) -> StoreError:
    """Return the error for a server that took a conditional put over an object that was there."""
    return StoreError(
        f"{url}: the server wrote over an object that a conditional put (If-None-Match: *) spares; "
        "expected one that keeps it, for two runs would take each other's place. Use Amazon S3 or a "
        "server that has conditional writes, or a folder that all nodes see."
    )


def _without_conditions(path: str) -> StoreError:
    return StoreError(
        f"s3://{path}: the server answered 501 Not Implemented to a conditional put (If-None-Match: *); "
        "expected one that has it, for it decides which of two runs a volume belongs to. Use Amazon S3 "
        "or a server that has conditional writes, or a folder that all nodes see."
    )


def _status(error: OSError) -> int:
    """Return the HTTP status that an error of s3fs was made from; 0 where there is none."""
    response = getattr(error.__cause__ or error, "response", None) or {}
    return int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _writer_of(filesystem: Any, bucket: str, key: str) -> str | None:
    """Return who made an object, empty where it was not signed; None where it is gone."""
    try:
        about = filesystem.call_s3("head_object", Bucket=bucket, Key=key)
    except FileNotFoundError:
        return None
    return str(about.get("Metadata", {}).get(_WRITER, ""))
