"""One folder of S3, listed by what is in it alone.

`s3fs` asks for the folder above where it finds none, which may hold a million objects.
"""

from collections.abc import Iterator
from typing import Any


def entries_of(filesystem: Any, path: str) -> Iterator[str]:
    """Yield objects and folders in a folder, as BUCKET/KEY; a request for each thousand.

    Args:
        filesystem: An `s3fs.S3FileSystem`.
        path: Bucket and key of the folder, without a trailing slash.

    Raises:
        FileNotFoundError: There is no such bucket.
    """
    bucket, key, _ = filesystem.split_path(path)
    asked = {"Bucket": bucket, "Prefix": f"{key}/" if key else "", "Delimiter": "/"}
    while True:
        page = filesystem.call_s3("list_objects_v2", **asked)
        for found in page.get("Contents", ()):
            yield f"{bucket}/{found['Key']}"
        for found in page.get("CommonPrefixes", ()):
            yield f"{bucket}/{found['Prefix']}"
        if not page.get("IsTruncated"):
            return
        asked["ContinuationToken"] = page["NextContinuationToken"]
