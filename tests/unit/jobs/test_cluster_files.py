"""The files of `jobs/cluster/` say what the code, the lock and KubeRay say."""

import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import typer
import typer.main
import yaml
from kuberay_schema import KINDS
from pathspec import GitIgnoreSpec

from jobs import app, cluster
from jobs.recipe import load_recipe
from jobs.train.config import TrainConfig
from jobs.train.workers import check_volumes, most_of, parse_num_workers

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "jobs" / "cluster"
MANIFESTS = sorted(FOLDER.glob("ray*.yaml"))
DOCKERFILE = (FOLDER / "Dockerfile").read_text()
README = (FOLDER / "README.md").read_text()


def documents(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text()))


def resources(kind: str) -> dict[str, dict[str, Any]]:
    found = (document for path in MANIFESTS for document in documents(path))
    return {each["metadata"]["name"]: each for each in found if each["kind"] == kind}


JOBS = resources("RayJob")
CLUSTERS = {
    **{name: job["spec"]["rayClusterSpec"] for name, job in JOBS.items()},
    **{name: each["spec"] for name, each in resources("RayCluster").items()},
}
UsageError: Any = typer.BadParameter.__base__
"""Click's, of the Click that Typer brings."""

each_cluster = pytest.mark.parametrize("name", CLUSTERS)
each_job = pytest.mark.parametrize("name", JOBS)


def locked() -> dict[str, str]:
    """What `requirements.lock` names."""
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    return dict(line.split("==") for line in lines if "==" in line)


def pods(spec: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The pods of a cluster, the head first."""
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        yield group["template"]["spec"]


def commands(text: str) -> list[list[str]]:
    """Every `factory` command of a page or an entry point, as words."""
    joined = text.replace("\\\n", " ")
    blocks = re.findall(r"```sh\n(.*?)```", joined, re.DOTALL) or [joined]
    lines = "\n".join(blocks).replace("&&", "\n").splitlines()
    found = (re.search(r"(?:^|\s)factory +([a-z].*)", line) for line in lines)
    return [shlex.split(match[1], comments=True) for match in found if match]


def parse(words: list[str]) -> None:
    """Read a command as the CLI does, without running it.

    Raises:
        UsageError: There is no such flag, or a value is not of its kind.
    """
    verbs: Any = typer.main.get_command(app.app)
    verbs.commands[words[0]].make_context(words[0], words[1:])


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_kuberay_knows_every_field_and_value(path: Path) -> None:
    for document in documents(path):
        jsonschema.validate(document, KINDS[document["kind"]])


@each_cluster
def test_the_image_and_the_cluster_are_of_the_locked_ray(name: str) -> None:
    spec = CLUSTERS[name]
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]

    assert spec["rayVersion"] == locked()["ray"]
    for pod in pods(spec):
        assert pod["containers"][0]["image"].endswith(f":{version}-ray{locked()['ray']}")


@each_cluster
def test_nothing_of_a_job_is_scheduled_on_the_head(name: str) -> None:
    assert CLUSTERS[name]["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"


@each_cluster
def test_a_cluster_asks_for_a_token_and_grows_by_itself(name: str) -> None:
    spec = CLUSTERS[name]

    assert spec["authOptions"] == {"mode": "token"}
    assert spec["enableInTreeAutoscaling"] is True
    assert spec["autoscalerOptions"]["version"] == "v2"


@each_cluster
def test_a_group_can_shrink_to_nothing_and_begins_with_something(name: str) -> None:
    for group in CLUSTERS[name]["workerGroupSpecs"]:
        assert group["minReplicas"] == 0
        assert 1 <= group["replicas"] <= group["maxReplicas"]


@each_cluster
def test_every_pod_has_the_data_and_shared_memory_that_it_may_write(name: str) -> None:
    for pod in pods(CLUSTERS[name]):
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        mounts = {each["mountPath"]: each for each in pod["containers"][0]["volumeMounts"]}

        assert volumes.keys() == {mount["name"] for mount in mounts.values()}
        assert "persistentVolumeClaim" in volumes[mounts["/data"]["name"]]
        assert volumes[mounts["/dev/shm"]["name"]]["emptyDir"]["medium"] == "Memory"
        assert pod["securityContext"]["fsGroup"] == pod["securityContext"]["runAsUser"]


@each_cluster
def test_a_pod_gets_what_it_asks_for_and_a_gpu_only_where_workers_draw(name: str) -> None:
    head, *workers = pods(CLUSTERS[name])
    for pod in (head, *workers):
        asked = pod["containers"][0]["resources"]
        assert asked["requests"] == asked["limits"]
    assert "nvidia.com/gpu" not in head["containers"][0]["resources"]["limits"]
    if name in JOBS:
        for pod in workers:
            assert pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"


@each_job
def test_a_job_goes_on_in_a_new_cluster_and_leaves_none_behind(name: str) -> None:
    spec = JOBS[name]["spec"]

    assert spec["backoffLimit"] >= 1
    assert spec["shutdownAfterJobFinishes"] is True
    assert spec["ttlSecondsAfterFinished"] > 0


@each_job
def test_a_job_waits_for_its_gpus_before_it_counts_them(name: str) -> None:
    assert JOBS[name]["spec"]["submissionMode"] == "K8sJobMode"
    assert "--device cuda" in JOBS[name]["spec"]["entrypoint"]
    assert "--ray-address auto" in JOBS[name]["spec"]["entrypoint"]


@each_job
def test_the_entry_point_is_a_command_of_the_cli_on_the_mounted_data(name: str) -> None:
    (words,) = commands(JOBS[name]["spec"]["entrypoint"])

    parse(words)
    for flag in ("--cases", "--out"):
        assert words[words.index(flag) + 1].startswith("/data/")


def test_the_pool_and_the_workers_are_at_most_the_nodes_that_there_can_be() -> None:
    for name, flag in (("factory-generate", "--actors"), ("factory-train", "--num-workers")):
        (words,) = commands(JOBS[name]["spec"]["entrypoint"])
        most = re.split("[:-]", words[words.index(flag) + 1])[-1]
        (group,) = CLUSTERS[name]["workerGroupSpecs"]
        assert int(most) == group["maxReplicas"]


def test_the_recipe_of_the_training_job_feeds_every_worker(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(resources("ConfigMap")["factory-train-recipe"]["data"]["recipe.toml"])
    config = load_recipe(str(recipe)).table("train", TrainConfig)
    (words,) = commands(JOBS["factory-train"]["spec"]["entrypoint"])
    workers = parse_num_workers(words[words.index("--num-workers") + 1])

    assert workers is not None
    check_volumes(workers, config.batch_size)
    assert config.batch_size % most_of(workers) == 0
    assert words[words.index("--recipe") + 1] == "/etc/factory/recipe.toml"


@each_job
def test_a_job_runs_in_the_environment_of_runtime_env_yaml(name: str) -> None:
    shared = yaml.safe_load((FOLDER / "runtime_env.yaml").read_text())

    assert yaml.safe_load(JOBS[name]["spec"]["runtimeEnvYAML"]) == shared


def test_workers_of_a_joined_cluster_are_set_as_those_of_a_local_one() -> None:
    shared = yaml.safe_load((FOLDER / "runtime_env.yaml").read_text())["env_vars"]
    of_both = shared.keys() & cluster._ENVIRONMENT.keys()

    assert len(of_both) == 3
    assert {key: shared[key] for key in of_both} == {
        key: cluster._ENVIRONMENT[key] for key in of_both
    }
    assert all(isinstance(value, str) for value in shared.values())


def test_every_command_of_the_page_is_one_of_the_cli() -> None:
    found = commands(README)

    assert {words[0] for words in found} >= {"ingest", "train", "generate", "status", "verify"}
    for words in found:
        parse(words)


def test_a_flag_that_the_cli_does_not_have_is_noticed() -> None:
    with pytest.raises(UsageError, match=r"No such option.*--gpus"):
        parse(["generate", "--gpus", "4"])


def test_every_file_that_the_page_names_is_there() -> None:
    named = set(re.findall(r"\b(?:jobs/cluster/)?([\w-]+\.yaml)\b", README))
    linked = re.findall(r"\]\((?!https?:)([^)#]+)", README)

    assert named >= {path.name for path in MANIFESTS} | {"runtime_env.yaml"}
    assert all((FOLDER / name).is_file() for name in named)
    assert all((FOLDER / link).exists() for link in linked)


def test_the_image_has_the_ray_and_python_of_the_lock() -> None:
    assert re.findall(r"ray\[default\]==([\d.]+)", DOCKERFILE) == [locked()["ray"]]
    assert f"-ray{locked()['ray']}" in DOCKERFILE
    (python,) = re.findall(r"^FROM python:(\d+\.\d+)-slim", DOCKERFILE, re.MULTILINE)
    required = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert required == f">={python}"


def test_the_image_is_made_of_files_that_are_there_and_that_docker_is_given() -> None:
    copied = [
        source
        for line in re.findall(r"^COPY (.+)$", DOCKERFILE, re.MULTILINE)
        for source in line.split()[:-1]
    ]
    sent = GitIgnoreSpec.from_lines((ROOT / ".dockerignore").read_text().splitlines())
    listed = {pattern for pattern in (ROOT / ".dockerignore").read_text().split() if "!" in pattern}

    assert {"factory", "models", "manifests", "jobs", "requirements.lock"} <= set(copied)
    for source in copied:
        assert (ROOT / source).exists()
    assert {f"!{source}" for source in copied} == listed
    assert sent.match_file("scans/patient_ct.nii.gz")
    assert sent.match_file("lake/manifest.parquet")


def test_the_image_runs_factory_as_the_user_that_the_pods_run_as() -> None:
    (user,) = re.findall(r"^USER (\d+)$", DOCKERFILE, re.MULTILINE)

    assert f"--uid {user} " in DOCKERFILE
    assert {pod["securityContext"]["runAsUser"] for s in CLUSTERS.values() for pod in pods(s)} == {
        int(user)
    }
    assert 'ENTRYPOINT ["factory"]' in DOCKERFILE
