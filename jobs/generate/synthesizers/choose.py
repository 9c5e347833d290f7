"""From the name in a recipe to what draws."""

from collections.abc import Callable

from jobs.generate.nodules import Nodules
from jobs.generate.settings import SamplerSettings
from jobs.generate.synthesizers.copy_paste import CopyPaste
from jobs.generate.synthesizers.lung_ddpm import LungDdpm
from jobs.generate.synthesizers.med_ddpm import MedDdpm
from jobs.generate.synthesizers.noise import Noise, Rehearsal
from jobs.generate.synthesizers.synthesizer import Synthesizer


def make_synthesizer(settings: SamplerSettings, nodules: Nodules) -> Synthesizer:
    """Return what draws the volumes of a plan.

    Args:
        settings: Names it, and the model that it may run.
        nodules: Those of the plan.

    Raises:
        CheckpointError: The model is not the plan's.
    """
    made = _MAKERS[settings.config.synthesizer](settings, nodules)
    if settings.config.rehearsal:
        return Rehearsal(made, settings.config.rehearsal_seconds)
    return made


def _copy_paste(settings: SamplerSettings, nodules: Nodules) -> Synthesizer:
    assert nodules.crops is not None, "read_nodules reads crops where the traits ask for them"
    return CopyPaste(nodules.crops)


_MAKERS: dict[str, Callable[[SamplerSettings, Nodules], Synthesizer]] = {
    "lung-ddpm": lambda settings, nodules: LungDdpm(settings),
    "med-ddpm": lambda settings, nodules: MedDdpm(settings),
    "copy-paste": _copy_paste,
    "noise": lambda settings, nodules: Noise(),
}
