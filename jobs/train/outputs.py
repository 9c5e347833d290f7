"""What rank 0 leaves in the run's folder as it trains: lines, checkpoints, pictures."""

import math
from importlib.metadata import version
from pathlib import Path
from types import TracebackType

import torch

from factory.digests import digest_json
from factory.intensity import HuWindow
from jobs.train import checkpoints
from jobs.train.checkpoints import RNG_POLICY
from jobs.train.examples import Example, Examples
from jobs.train.probes import make_probes, probe_loss
from jobs.train.record import Recorder
from jobs.train.run_folder import warn_in
from jobs.train.samples import SAMPLES, Reference, picture_name, read_references, write_samples
from jobs.train.settings import LoopSettings
from jobs.train.steps import Taken, Training, voxel_weight
from jobs.train.told import card_of, preprocessing_of
from models.checkpoint import save_checkpoint
from models.schedule import NoiseSchedule
from models.unet3d import UNet3D


class Outputs:
    """Keeps the records of a run; one worker does, the others wait for it at the next exchange.

    Args:
        settings: Of the loop.
        training: Looked at after each step.
        schedule: The noise schedule.
        world: Workers, for the record.
    """

    def __init__(
        self, settings: LoopSettings, training: Training, schedule: NoiseSchedule, *, world: int
    ) -> None:
        self._settings, self._training, self._schedule = settings, training, schedule
        self._world = world
        self._run = Path(settings.run_dir)
        self._device = next(training.model.parameters()).device
        self._recorder = Recorder(self._run, start_step=training.step)
        self._probes = _probes(settings)
        self._probes_digest = _probes_digest(settings)
        self._references: list[Reference] = []

    def __enter__(self) -> "Outputs":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._recorder.close()

    def after_step(self, taken: Taken, *, seconds: float, wait: float, in_haste: bool) -> None:
        """Write what is due after a step.

        Args:
            taken: What the step told.
            seconds: That it took, waiting included.
            wait: Seconds of those that it waited for examples.
            in_haste: A machine is about to be taken away: a checkpoint now, and nothing beside it.
        """
        step, config = self._training.step, self._settings.config
        is_due = step % config.checkpoint_every == 0 or step == config.steps
        val_loss = self._val_loss() if is_due and not in_haste else None
        self._recorder.step(
            step,
            loss=taken.loss,
            lr=taken.learning_rate,
            seconds=seconds,
            wait=wait,
            val_loss=val_loss,
        )
        if is_due or in_haste:
            self._recorder.flush()
            self._write_checkpoint(taken.loss, val_loss)
        if config.sample_every and step % config.sample_every == 0 and not in_haste:
            self._try_to_draw(step)

    def _val_loss(self) -> float | None:
        config = self._settings.config
        if not self._probes:
            return None
        return probe_loss(
            self._training.ema.module,
            self._schedule,
            self._probes,
            kind=config.loss,
            prediction=config.model.prediction,
            weight=lambda condition: voxel_weight(condition, config.lung_weight),
            labels=config.labels,
            autocast=config.precision == "bfloat16",
            device=self._device,
        )

    def _write_checkpoint(self, loss: float, val_loss: float | None) -> None:
        state = self._training.state_dict() | {"rng": RNG_POLICY, "asked": self._settings.asked}
        record = {
            "rng": RNG_POLICY,
            "asked": self._settings.asked,
            "loss": loss,
            "val_loss": val_loss if val_loss is None or math.isfinite(val_loss) else None,
            "probes": self._probes_digest,
            "num_workers": self._world,
            "versions": {"ct-factory": version("ct-factory"), "torch": torch.__version__},
        }
        checkpoints.write(self._run, self._training.step, state, record, self._save_model)
        checkpoints.prune(self._run, self._settings.config.num_checkpoints)

    def _save_model(self, folder: Path) -> None:
        settings = self._settings
        averaged = self._training.ema.module
        assert isinstance(averaged, UNet3D)
        save_checkpoint(
            folder,
            averaged,
            schedule=self._schedule,
            preprocessing=card_of(settings.config, settings.ingest),
            training={**settings.notes, "step": self._training.step},
        )

    def _try_to_draw(self, step: int) -> None:
        """Draw, or warn: weeks of training must not end for want of a picture."""
        try:
            self._draw(step)
        except Exception as error:
            name = type(error).__name__
            warn_in(
                self._run,
                f"warning: step {step}: no picture could be made ({name}: {error}); training goes on. Set "
                "sample_every = 0 to have none",
            )

    def _draw(self, step: int) -> None:
        settings, config = self._settings, self._settings.config
        if not self._references:
            self._references = read_references(
                settings.cases_url,
                settings.validation_cases,
                settings.training_cases,
                config.num_samples,
            )
        picture = self._run / SAMPLES / picture_name(step)
        picture.parent.mkdir(exist_ok=True)
        write_samples(
            self._training.ema.module,
            self._schedule,
            self._references,
            preprocessing_of(config, settings.ingest),
            picture,
            seed=config.seed,
        )
        self._recorder.picture(step, picture)


def _probes_digest(settings: LoopSettings) -> str:
    """Return what tells sets of probes apart; only losses on the same ones compare."""
    cases = settings.validation_cases or settings.training_cases
    paths = [case.image_path for case in cases]
    return digest_json([settings.config.num_probes, paths])


def _probes(settings: LoopSettings) -> list[Example]:
    config = settings.config
    if not config.num_probes:
        return []
    cases = Examples(
        settings.cases_url,
        [case.image_path for case in settings.validation_cases or settings.training_cases],
        window=HuWindow(*config.hu_window),
        num_diffusion_steps=config.schedule.num_steps,
        seed=config.seed,
        batch_size=1,
    )
    return make_probes(cases, config.num_probes, config.schedule.num_steps)
