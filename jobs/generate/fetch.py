"""A model by its URL becomes a folder of this node, once.

URL --> CACHE/.DIGEST.xxxx --digest checked, renamed--> CACHE/DIGEST --load_checkpoint--> each actor
"""

import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

from factory.errors import ModelError
from factory.storage import Storage
from manifests.read import is_url
from models.card import CARD_NAME, WEIGHTS_NAME
from models.checkpoint import Checkpoint, load_checkpoint
from models.errors import CheckpointError
from models.weights import NAMES, shipped

CACHE_VARIABLE = "FACTORY_CACHE_DIR"
"""Environment variable of the folder that models are fetched to."""

_HEX_DIGITS = frozenset("0123456789abcdef")


def load_model(
    model: str, device: str | torch.device = "cpu", expect_digest: str | None = None
) -> Checkpoint:
    """Load a checkpoint by its folder, URL or name, and verify its digest.

    What a URL names is fetched once a node, and kept under its digest.

    Args:
        model: Absolute path of a checkpoint's folder, its URL, or the name of a model that ships.
        device: Where the network goes.
        expect_digest: The digest that a plan names; another one is an error.

    Raises:
        CheckpointError: Something is missing, torn, of another format, or has another digest.
        ModelError: There is no checkpoint behind the URL.
    """
    if model in NAMES:
        model = str(shipped(model))
    if not is_url(model):
        return load_checkpoint(model, device, expect_digest)
    source = Storage(model)
    digest = expect_digest or _digest_of(source)
    folder = cache_folder() / digest
    # A copy that was damaged since is fetched anew.
    with suppress(CheckpointError):
        return load_checkpoint(folder, device, digest)
    with _alone(folder):
        with suppress(CheckpointError):
            return load_checkpoint(folder, device, digest)
        return _fetch(source, folder, device, digest)


def cache_folder() -> Path:
    """Return the folder of this node that models are fetched to."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get(CACHE_VARIABLE) or base / "ct-factory") / "models"


def _fetch(source: Storage, folder: Path, device: str | torch.device, digest: str) -> Checkpoint:
    with tempfile.TemporaryDirectory(prefix=_aside(folder), dir=folder.parent) as aside:
        fetched = Path(aside) / "model"
        fetched.mkdir()
        for name in (WEIGHTS_NAME, CARD_NAME):
            try:
                source.fetch(name, fetched / name)
            except FileNotFoundError as error:
                raise _absent(source, name) from error
        try:
            checkpoint = load_checkpoint(fetched, device, digest)
        except CheckpointError as error:
            raise CheckpointError(str(error).replace(str(fetched), source.url)) from error
        shutil.rmtree(folder, ignore_errors=True)
        try:
            fetched.rename(folder)
        except OSError as error:
            # Where there are no locks, another was faster.
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
            return load_checkpoint(folder, device, digest)
    return checkpoint


def _digest_of(source: Storage) -> str:
    """Return what `model.json` says; the weights are held against it once they are here."""
    try:
        card = source.read_json(CARD_NAME)
    except FileNotFoundError as error:
        raise _absent(source, CARD_NAME) from error
    except ValueError as error:
        raise CheckpointError(
            f"checkpoint {source.url}: {CARD_NAME} is not JSON ({error}). Copy it again from where it "
            "was made, or train it again"
        ) from error
    digest = card.get("digest") if isinstance(card, dict) else None
    # It names a folder of the cache.
    if not isinstance(digest, str) or len(digest) != 64 or not _HEX_DIGITS.issuperset(digest):
        raise CheckpointError(
            f"checkpoint {source.url}: {CARD_NAME} has digest {digest!r}; expected 64 hex digits. Copy "
            "it again from where it was made, or train it again"
        )
    return digest


def _absent(source: Storage, name: str) -> ModelError:
    return ModelError(
        f"model {source.url}: found no {name}; expected {CARD_NAME} and {WEIGHTS_NAME}. Copy the whole "
        "folder of the checkpoint there."
    )


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Let one actor of a node fetch, and the others find what it brought."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        # Where a file system has no locks, several fetch: the rename still is whole.
        with suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX)
            # Nobody else fetches it now: what lies here is of one that was killed.
            for debris in folder.parent.glob(f"{_aside(folder)}*"):
                shutil.rmtree(debris, ignore_errors=True)
        yield


def _aside(folder: Path) -> str:
    """Return how the names begin of what becomes a folder."""
    return f".{folder.name}."
