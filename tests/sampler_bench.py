"""A sampler on a fresh lake, as the tests of what it commits and gives up need it."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from factory.lake import Lake
from factory.nodules.bank import embedded_bank
from factory.storage import Storage
from factory.volumes import Volume, read_volume
from jobs.cases import CaseStore
from jobs.generate import job, pool
from jobs.generate.actor import Sampler
from jobs.generate.config import GenerateConfig
from jobs.generate.plan import WorkItem, plan_items
from jobs.generate.volume_sampler import SamplerSettings
from models.card import read_model_card

CONFIG = GenerateConfig(steps=2)
RUN = "run"


def settings_of(store: CaseStore, model: Path, lake: Path, config: GenerateConfig = CONFIG) -> Any:
    return SamplerSettings(
        lake_url=Lake(lake).url,
        cases_url=store.url,
        model=str(model),
        model_digest=read_model_card(model).digest,
        nodules="",
        bank_digest=embedded_bank().digest,
        steps=config.num_steps(read_model_card(model).schedule.num_steps),
        seed=0,
        config=config,
        device="cpu",
        run_id=RUN,
    )


def items_of(store: CaseStore, model: Path, config: GenerateConfig = CONFIG) -> dict[str, WorkItem]:
    """The first item of each case."""
    shared = job._shared(read_model_card(model), config, None, 0)
    return {item.case_id: item for item in plan_items(store.training_rows(), shared, 3)}


def donor_of(store: CaseStore, case_id: str) -> dict[str, Any]:
    return next(pool.donor(row) for row in store.rows if row["case_id"] == case_id)


class Bench:
    """A sampler on a fresh lake."""

    def __init__(self, store: CaseStore, model: Path, lake: Path, config: GenerateConfig) -> None:
        self.store, self.lake = store, Lake(lake)
        self.items = items_of(store, model, config)
        self.sampler = Sampler(settings_of(store, model, lake, config))

    def draw(self, case_id: str, donor: dict[str, Any] | None = None) -> dict[str, Any]:
        content = donor or donor_of(self.store, case_id)
        return self.sampler.draw({"work": asdict(self.items[case_id]), "donor": content})

    def row(self, case_id: str) -> dict[str, Any]:
        return self.lake.committed_row(self.items[case_id].work_id)

    def volume(self, case_id: str) -> Volume:
        return read_volume(self.lake.storage, self.row(case_id)["image_uri"])

    def reason(self, case_id: str) -> dict[str, Any]:
        (record,) = (r for r in self.lake.quarantined() if r["case_id"] == case_id)
        return record


MakeBench = Callable[..., Bench]


def reference_of(store: CaseStore, case_id: str) -> Volume:
    return read_volume(Storage(store.url), donor_of(store, case_id)["image_uri"])
