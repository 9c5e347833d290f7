"""A doctor's whole round on this machine, and a bucket that behaves and one that does not."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from s3_server import ACCESS_KEY, BUCKET, SECRET_KEY, environment, serve

pytest.importorskip("s3fs", reason="no s3fs: pip install 'ct-factory[s3]'")
for package in ("moto", "flask_cors"):
    pytest.importorskip(
        package, reason="no server of the S3 protocol: pip install 'ct-factory[dev]'"
    )

pytestmark = pytest.mark.slow

PROGRAM = """
import typer
from jobs.doctor.command import command
typer.run(command)
"""
CHECKS = """
from jobs.doctor.asked import Asked
from jobs.doctor.places import check_out
for url in {urls}:
    for one in check_out(Asked(out=url)):
        print(one.verdict, one.check, one.found, one.advice, sep=" | ")
"""


def run(code: str, folder: Path, *arguments: str, **variables: str) -> Any:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, **variables},
        timeout=300,
        check=False,
    )


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with serve() as url:
        yield url


def test_a_round_ends_well_here_and_leaves_nothing(tmp_path: Path, model_16: Path) -> None:
    here = tmp_path / "here"
    here.mkdir()
    (tmp_path / "few.toml").write_text("[generate]\nsteps = 5\n")
    (here / "factory.toml").write_text('recipe = "../few.toml"\n')
    result = run(PROGRAM, here, "--json", "--device", "cpu", "--model", str(model_16))
    assert result.returncode == 0, result.stdout
    told = {one["check"]: one for one in json.loads(result.stdout)["findings"]}
    assert {"python", "packages", "memory", "torch", "attention", "sampler", "ray", "out ."} <= set(
        told
    )
    assert "volumes an hour" in told["sampler"]["found"]
    assert [one["check"] for one in told.values() if "failed itself" in one["found"]] == []
    assert [path.name for path in here.iterdir()] == ["factory.toml"]


def test_buckets_are_told_apart_by_what_they_do(server: str, tmp_path: Path) -> None:
    urls = [f"s3://{BUCKET}/{name}" for name in ("doctor", "deaf/lake", "no-conditions/lake")]
    result = run(
        CHECKS.format(urls=[*urls, "s3://no-such-bucket-here/x"]), tmp_path, **environment(server)
    )
    good, deaf, refusing, missing = (line.split(" | ") for line in result.stdout.splitlines())
    assert good[0] == "ok"
    assert "writes" in good[2]
    assert [line[0] for line in (deaf, refusing, missing)] == ["problem"] * 3
    assert "wrote over an object" in deaf[2]
    assert "501 Not Implemented" in refusing[2]
    assert "no such bucket" in missing[2]
    assert _names(server) == []
    assert SECRET_KEY not in result.stdout
    assert ACCESS_KEY not in result.stdout


def test_a_server_that_is_not_there_is_a_problem(tmp_path: Path) -> None:
    closed = {**environment("http://127.0.0.1:9"), "AWS_MAX_ATTEMPTS": "1"}
    result = run(CHECKS.format(urls=["s3://bucket-of-nobody/lake"]), tmp_path, **closed)
    (line,) = result.stdout.splitlines()
    assert line.startswith("problem | ")
    assert "AWS_ENDPOINT_URL" in line


def _names(server: str) -> list[str]:
    code = (
        "from s3fs import S3FileSystem; "
        f"print(S3FileSystem(skip_instance_cache=True).find({BUCKET!r}))"
    )
    found = run(code, Path.cwd(), **environment(server)).stdout
    return list(json.loads(found.replace("'", '"')))
