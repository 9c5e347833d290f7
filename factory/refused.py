"""What the operating system refuses, in words that go on after `found`."""

import errno

_FOUND = {
    errno.ENOENT: "no such file or folder",
    errno.EISDIR: "a folder",
    errno.ENOTDIR: "no folder",
    errno.EEXIST: "a file of this name",
    errno.EACCES: "no permission",
    errno.EPERM: "no permission",
    errno.EROFS: "a file system that cannot be written to",
    errno.ENOSPC: "no space left",
    errno.EDQUOT: "no space left in the quota",
    errno.ENAMETOOLONG: "a name that is too long",
    errno.ELOOP: "links that lead in a circle",
    errno.EADDRINUSE: "another program there",
}


def found_of(error: OSError) -> str:
    """Return what was found where a file or a folder was to be, as `no such file or folder` or `no permission`."""
    if error.errno in _FOUND:
        return _FOUND[error.errno]
    told = error.strerror or str(error) or type(error).__name__
    # The system's own texts begin like sentences.
    return f"{told[0].lower()}{told[1:]}" if error.strerror else told
