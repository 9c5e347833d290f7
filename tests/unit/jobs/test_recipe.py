"""A recipe says how, and a slip in it is named before anything starts."""

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import pytest

from factory.errors import RecipeError
from factory.ingest.prepare import IngestConfig
from factory.nodules.rules import LayoutsConfig
from jobs.demo.job import DemoConfig
from jobs.downstream.config import DownstreamConfig
from jobs.generate.config import GenerateConfig
from jobs.recipe import DEFAULT_RECIPE, TABLES, Recipe, load_recipe, read_table, recipe_names
from jobs.train.config import TrainConfig
from models.schedule import ScheduleConfig
from models.unet3d_config import UNet3DConfig

CONFIGS = {
    "ingest": IngestConfig,
    "layouts": LayoutsConfig,
    "train": TrainConfig,
    "generate": GenerateConfig,
    "downstream": DownstreamConfig,
    "demo": DemoConfig,
}


@dataclass(frozen=True, kw_only=True)
class Inner:
    names: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Config:
    steps: int = 1
    rate: float = 0.5
    clip: bool = True
    mode: str = "a"
    window: tuple[float, float] = (0.0, 1.0)
    inner: Inner = field(default_factory=Inner)


def write_recipe(tmp_path: Path, text: str) -> Recipe:
    path = tmp_path / "own.toml"
    path.write_text(text)
    return load_recipe(str(path))


def test_every_table_belongs_to_a_verb_with_settings() -> None:
    assert set(TABLES) == set(CONFIGS)


@pytest.mark.parametrize("verb", CONFIGS)
@pytest.mark.parametrize("name", recipe_names())
def test_each_recipe_that_ships_fits_every_verb(name: str, verb: str) -> None:
    recipe = load_recipe(name)
    config = recipe.table(verb, CONFIGS[verb])
    kept = asdict(config)
    for key, value in recipe.tables.get(verb, {}).items():
        if not isinstance(value, dict):
            assert list(kept[key]) == value if isinstance(value, list) else kept[key] == value


def test_the_recipes_that_ship_are_these() -> None:
    ablations = ["ablation-no-aas", "ablation-no-both", "ablation-no-lung-layout"]
    ours = {*ablations, "copy-paste", "demo", "fast", "med-ddpm", "noise", "paper", "published"}
    assert {"shipped", "tiny"} | ours <= set(recipe_names())


def test_the_paper_recipe_is_what_the_paper_did() -> None:
    recipe = load_recipe("paper")
    train = recipe.table("train", TrainConfig)
    generate = recipe.table("generate", GenerateConfig)

    assert (train.steps, train.batch_size, train.learning_rate) == (100_000, 1, 1e-5)
    assert train.hu_window == (-1024.0, 600.0)
    assert (train.ema.decay, train.ema.start_step, train.ema.update_every) == (0.995, 2000, 10)
    assert train.schedule == ScheduleConfig(num_steps=250, s=0.008)
    assert train.model == UNet3DConfig(
        grid=128,
        base_channels=64,
        channel_mults=(1, 1, 2, 3, 4),
        num_res_blocks=1,
        attention_max_size=16,
    )
    assert (generate.sampler, generate.steps, generate.clip_x0, generate.sigma) == (
        "ddpm",
        0,
        False,
        "beta",
    )
    assert recipe.table("ingest", IngestConfig).grid == 128


def test_the_model_that_ships_differs_from_the_demos_by_its_grafts_and_its_precision() -> None:
    demo, shipped = (load_recipe(name).table("train", TrainConfig) for name in ("demo", "shipped"))
    assert (shipped.graft.probability, shipped.precision) == (0.7, "bfloat16")
    assert replace(shipped, graft=demo.graft, precision=demo.precision) == demo


def test_the_default_recipe_draws_in_25_steps() -> None:
    assert load_recipe(DEFAULT_RECIPE).table("generate", GenerateConfig).num_steps(250) == 25


def test_no_recipe_table_at_all_means_all_defaults() -> None:
    assert Recipe("none", {}).table("train", TrainConfig) == TrainConfig()


def test_values_of_flags_stand_above_the_recipe_and_none_means_not_given() -> None:
    recipe = load_recipe("tiny")
    assert recipe.table("train", TrainConfig, steps=7).steps == 7
    assert recipe.table("train", TrainConfig, steps=None).steps == 20
    assert recipe.table("train", TrainConfig, steps=7).batch_size == 2


def test_a_table_inside_a_table_sets_only_what_it_names(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, "[train.model]\nbase_channels = 8\n[train.ema]\ndecay = 0.5\n")
    config = recipe.table("train", TrainConfig)
    assert (config.model.base_channels, config.ema.decay) == (8, 0.5)
    assert (config.model.num_res_blocks, config.ema.start_step) == (1, 2000)


def test_a_whole_number_is_a_float_and_a_list_a_tuple() -> None:
    config = read_table(Config, {"rate": 2, "window": [-1, 1], "inner": {"names": ["a"]}}, "here")
    assert config == Config(rate=2.0, window=(-1.0, 1.0), inner=Inner(names=("a",)))
    assert isinstance(config.rate, float)
    assert isinstance(config.window[0], float)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"stepz": 1}, r"^here stepz: unknown key; expected one of clip, inner, mode, .*Correct"),
        ({"inner": {"nam": 1}}, r"^here inner nam: unknown key; expected one of names\."),
        ({"steps": 1.5}, r"^here steps: found 1\.5; expected int\. Correct the value\."),
        ({"steps": True}, r"^here steps: found True; expected int\."),
        ({"rate": True}, r"^here rate: found True; expected float\."),
        ({"rate": "fast"}, r"^here rate: found 'fast'; expected float\."),
        ({"clip": 1}, r"^here clip: found 1; expected bool\."),
        ({"mode": 3}, r"^here mode: found 3; expected str\."),
        ({"window": [1.0]}, r"^here window: found 1 values; expected 2\. Correct the list\."),
        ({"window": 1.0}, r"^here window: found 1\.0; expected a list\."),
        ({"window": [0.0, "x"]}, r"^here window: found 'x'; expected float\."),
        ({"inner": 3}, r"^here inner: found 3; expected a table\."),
        ({"inner": {"names": ["a", 1]}}, r"^here inner names: found 1; expected str\."),
    ],
)
def test_a_wrong_key_or_value_is_named_with_what_was_expected(
    values: dict[str, object], message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        read_table(Config, values, "here")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("train.steps = 0", r"own\.toml: \[train\]: steps is 0; it must be at least 1"),
        ("train.batch_size = 0", r"\[train\]: batch_size is 0; it must be at least 1"),
        ("train.learning_rate = 0.0", r"\[train\]: learning_rate is 0\.0; it must be above 0"),
        ("train.learning_rate = nan", r"\[train\]: learning_rate is nan; it must be above 0"),
        ("train.hu_window = [600, -1024]", r"\[train\]: hu_window is \(600\.0, -1024\.0\) HU; the"),
        (
            "train.hu_window = [-1e5, 600]",
            r"hu_window is \(-100000\.0, 600\.0\) HU; CTs have within",
        ),
        ("train.learning_rate = inf", r"\[train\]: learning_rate is inf; it must be finite"),
        ("train.schedule.s = nan", r"\[train\] schedule: s is nan; it must lie in \[0, 1\]"),
        ("train.hu_window = [nan, 600]", r"\[train\]: hu_window is \(nan, 600\.0\) HU; the first"),
        ("train.model.base_channels = 3", r"\[train\] model: base_channels is 3"),
        ("train.schedule.num_steps = 0", r"\[train\] schedule: num_steps is 0"),
        (
            "generate.sampler = 'euler'",
            r"sampler is 'euler'; known are ddpm, ddim, dpmpp_2m\. Correct the value\.",
        ),
        ("generate.variant = 'own'", r"\[generate\]: variant is 'own'; known are paper, authors"),
        ("generate.blend = 'end'", r"\[generate\]: blend is 'end'; known are auto, level, start"),
        ("generate.precision = 'int8'", r"precision is 'int8'; known are float32, bfloat16"),
        ("generate.sigma = 'alpha'", r"\[generate\]: sigma is 'alpha'; known are posterior, beta"),
        ("generate.steps = -1", r"\[generate\]: steps is -1; it must be at least 1, or 0 for all"),
        ("generate.num_threads = 0", r"\[generate\]: num_threads and max_attempts must be at"),
        ("generate.placement.min_nodules = 9", r"\[generate\] placement: min_nodules is 9"),
        ("ingest.grid = 20", r"\[ingest\] grid: found 20; expected a multiple of 16"),
        ("ingest.field_of_view = 'x'", r"\[ingest\] field_of_view: found 'x'; expected one of"),
        ("ingest.margin_mm = -1", r"\[ingest\] margin_mm: found -1\.0; expected 0 or more"),
        ("ingest = 3", r"own\.toml: \[ingest\]: found 3; expected a table\."),
    ],
)
def test_a_value_outside_its_range_is_named(tmp_path: Path, table: str, message: str) -> None:
    recipe = write_recipe(tmp_path, table)
    verb = table.partition(" ")[0].partition(".")[0]
    with pytest.raises(RecipeError, match=message):
        recipe.table(verb, CONFIGS[verb])


def test_a_recipe_takes_what_it_does_not_say_from_its_base(tmp_path: Path) -> None:
    own = write_recipe(
        tmp_path, 'base = "tiny"\n[train]\nsteps = 7\n[train.model]\nbase_channels = 48\n'
    )
    train, tiny = (r.table("train", TrainConfig) for r in (own, load_recipe("tiny")))
    assert (train.steps, train.model.base_channels) == (7, 48)
    assert train.model.attention_max_size == tiny.model.attention_max_size == 8
    assert train.learning_rate == tiny.learning_rate
    generate = own.table("generate", GenerateConfig)
    assert generate == load_recipe("tiny").table("generate", GenerateConfig)


def test_a_base_that_is_not_there_is_answered_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(
        RecipeError, match=r"found base = 'papier'; expected one of .*demo, .*fast, .*pap"
    ):
        write_recipe(tmp_path, 'base = "papier"\n')


def test_a_table_that_is_no_verb_is_refused_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(
        RecipeError,
        match=r"own\.toml: found table \[trian\]; expected \[ingest\], \[layouts\], \[train\], \[generate\], "
        r"\[downstream\], \[demo\]\. Rename or remove it\.",
    ):
        write_recipe(tmp_path, "[trian]\nsteps = 1\n")


def test_a_recipe_that_is_not_toml_says_where(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"own\.toml: found .*line 2.*; expected TOML"):
        write_recipe(tmp_path, "[train]\nsteps =\n")


@pytest.mark.parametrize("name", ["papier", "."])
def test_a_recipe_that_is_not_there_is_answered_with_those_that_are(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        RecipeError,
        match=r"recipe .*: found neither a recipe of this name nor a file that can be read "
        r"\((no such file or folder|a folder)\); expected one of .*demo, .*fast, .*paper, published, "
        r"shipped, tiny, or a TOML file\. Correct the name",
    ):
        load_recipe(name)


def test_a_recipe_of_another_encoding_is_refused_and_not_a_crash(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_bytes("# größe\n".encode("latin-1"))
    with pytest.raises(
        RecipeError, match=r"own\.toml: .* a file that can be read \(no UTF-8\); expected"
    ):
        load_recipe(str(tmp_path / "own.toml"))


def test_another_network_does_not_inherit_the_arguments_of_the_one_below(tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text('base = "tiny"\n[downstream]\nnetwork = "SegResNet"\n')
    found = load_recipe(str(mine)).table("downstream", DownstreamConfig)
    assert (found.network, dict(found.network_args)) == ("SegResNet", {})
    mine.write_text(
        'base = "tiny"\n[downstream]\nnetwork = "UNet"\n[downstream.network_args]\nchannels = [4, 8]\n'
    )
    found = load_recipe(str(mine)).table("downstream", DownstreamConfig)
    assert dict(found.network_args) == {"channels": [4, 8]}

    # So does a flag; without it, and with the steps alone, the recipe's own stay.
    tiny = load_recipe("tiny")
    flagged = tiny.table("downstream", DownstreamConfig, network="BasicUNet", steps=3)
    assert (dict(flagged.network_args), flagged.steps) == ({}, 3)
    assert tiny.table("downstream", DownstreamConfig, steps=3).network_args["channels"]
    same = tiny.table("downstream", DownstreamConfig, network="AttentionUnet")
    assert same.network_args == tiny.table("downstream", DownstreamConfig).network_args
