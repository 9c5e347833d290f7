"""Put a trained model where those that ship lie, in half the bytes.

python -m jobs.ship RUN models/weights/demo
"""

import sys
import tempfile
from pathlib import Path

import torch

from factory.errors import FactoryError, ModelError
from jobs.console import give, say
from models.card import CARD_NAME, WEIGHTS_NAME
from models.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from models.errors import CheckpointError

_USAGE = "python -m jobs.ship RUN models/weights/demo"

MAX_BYTES = 12_000_000
"""Of a model that ships: it lies in every clone and every wheel."""


def ship(run: Path, out: Path) -> str:
    """Write the model of a run into a folder, as float16; return its digest.

    Other files of the folder stay, such as a README.md. Killed, nothing is changed, or the same
    command mends it.

    Args:
        run: Run of `factory train`, or a checkpoint.
        out: Folder to write into.

    Raises:
        CheckpointError: There is no whole model in the run.
        ModelError: It is too large, or what was written does not read back.
    """
    trained = load_checkpoint(run if (run / CARD_NAME).exists() else run / "model")
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".ship-", dir=out.parent) as aside:
        halved = Path(aside, "model")
        digest = _save_halved(trained, halved)
        _check_size(run, halved)
        for name in (WEIGHTS_NAME, CARD_NAME):
            # Safetensors makes files for its owner alone; these are for whoever installs them.
            (halved / name).chmod(0o644)
            (halved / name).replace(out / name)
    load_checkpoint(out, expect_digest=digest)
    return digest


def _save_halved(trained: Checkpoint, path: Path) -> str:
    card = trained.card
    return save_checkpoint(
        path,
        trained.denoiser,
        schedule=trained.schedule,
        preprocessing=card.preprocessing,
        training=card.training,
        dtype=torch.float16,
    )


def _check_size(run: Path, path: Path) -> None:
    size = sum(file.stat().st_size for file in path.iterdir())
    if size > MAX_BYTES:
        raise ModelError(
            f"model of {run}: takes {size / 1e6:.1f} MB as float16; expected at most "
            f"{MAX_BYTES / 1e6:.0f} MB to ship. Train one of fewer channels."
        )


def main(arguments: list[str]) -> int:
    """Ship a model; return the exit status."""
    if len(arguments) != 2:
        say(f"usage: {_USAGE}")
        return 2
    run, out = map(Path, arguments)
    try:
        digest = ship(run, out)
    except (FactoryError, CheckpointError) as error:
        say(f"error: {error}")
        return 1
    say(f"{(out / WEIGHTS_NAME).stat().st_size / 1e6:.1f} MB of weights, model {digest[:12]}")
    give(str(out))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
