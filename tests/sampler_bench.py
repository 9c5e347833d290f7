"""A sampler on a fresh lake, as the tests of what it commits and gives up need it."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from factory.lake import Lake
from factory.storage import Storage
from factory.volumes import Volume, read_volume
from jobs.cases import CaseStore
from jobs.generate import job, pool
from jobs.generate.actor import Sampler
from jobs.generate.config import GenerateConfig
from jobs.generate.nodules import read_nodules
from jobs.generate.plan import PlanSettings, WorkItem, plan_items
from jobs.generate.settings import SamplerSettings
from jobs.generate.synthesizers.traits import KNOWN
from models.card import read_model_card

CONFIG = GenerateConfig(steps=2)
RUN = "run"


def shared_of(
    model: Path | None, config: GenerateConfig = CONFIG, nodules: Path | None = None
) -> PlanSettings:
    card = read_model_card(model) if model else None
    return job._shared(card, config, read_nodules(nodules or "", config).digest, 0)


def settings_of(
    store: CaseStore,
    model: Path | None,
    lake: Path,
    config: GenerateConfig = CONFIG,
    nodules: Path | None = None,
) -> Any:
    shared = shared_of(model, config, nodules)
    return SamplerSettings(
        lake_url=Lake(lake).url,
        cases_url=store.url,
        model=str(model or ""),
        model_digest=shared.model_digest,
        nodules=str(nodules or ""),
        bank_digest=shared.bank_digest,
        steps=shared.steps,
        seed=0,
        config=config,
        device="cpu",
        run_id=RUN,
    )


def items_of(
    store: CaseStore,
    model: Path | None,
    config: GenerateConfig = CONFIG,
    nodules: Path | None = None,
) -> dict[str, WorkItem]:
    """The first item of each case."""
    shared = shared_of(model, config, nodules)
    return {item.case_id: item for item in plan_items(store.training_rows(), shared, 3)}


def donor_of(store: CaseStore, case_id: str) -> dict[str, Any]:
    return next(pool.donor(row) for row in store.rows if row["case_id"] == case_id)


class Bench:
    """A sampler on a fresh lake."""

    def __init__(
        self,
        store: CaseStore,
        model: Path | None,
        lake: Path,
        config: GenerateConfig,
        nodules: Path | None = None,
    ) -> None:
        self.store, self.lake = store, Lake(lake)
        self.items = items_of(store, model, config, nodules)
        self.sampler = Sampler(settings_of(store, model, lake, config, nodules))

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


def config_of(name: str, **changes: Any) -> GenerateConfig:
    """Return settings of a synthesizer that takes two steps a volume."""
    return GenerateConfig(synthesizer=name, steps=2, **changes)


def bench_of(
    store: CaseStore, model: Path, crops: Path, lake: Path, name: str, **changes: Any
) -> Bench:
    """Return a sampler that draws with a synthesizer, given only what it needs."""
    traits = KNOWN[name]
    return Bench(
        store,
        model if traits.needs_model else None,
        lake,
        config_of(name, **changes),
        crops if traits.needs_crops else None,
    )
