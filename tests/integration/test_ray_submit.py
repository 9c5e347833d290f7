"""A job is submitted to a cluster of its own, as jobs/cluster/README.md says, and runs to its end."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest
from support import write_scan

from factory.lake import MANIFEST
from manifests.read import read_manifest

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
PACKAGES = ("factory", "models", "jobs", "manifests")
SECONDS_TO_START = 240

# Ray's dashboard takes jobs only with all that `ray[default]` brings.
MISSING = [name for name in ("aiohttp_cors", "opencensus", "smart_open") if not find_spec(name)]

pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.skipif(
        bool(MISSING), reason=f"{', '.join(MISSING)} not installed: pip install 'ray[default]'"
    ),
]


@dataclass(frozen=True, slots=True)
class Submitter:
    """A shell of somebody who has a cluster's token."""

    environment: dict[str, str]
    dashboard: str

    def run(self, *arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(BIN / "ray"), "job", *arguments, "--address", self.dashboard],
            env=self.environment | changes,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )

    def submit(self, folder: Path, command: str) -> subprocess.CompletedProcess[str]:
        job = ["sh", "-c", command]
        return subprocess.run(
            [
                *(str(BIN / "ray"), "job", "submit", "--address", self.dashboard),
                *("--working-dir", str(folder), "--metadata-json", '{"git_sha": "f00d"}'),
                *("--runtime-env", str(folder / "jobs/cluster/runtime_env.yaml"), "--", *job),
            ],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )


@pytest.fixture(scope="module")
def submitter() -> Iterator[Submitter]:
    """A head with two logical CPUs and a dashboard, on ports and with a token of its own."""
    # Not tmp_path: the paths of Ray's sockets end at 107 characters.
    folder = Path(tempfile.mkdtemp(prefix="submit-", dir="/tmp"))
    token = folder / "token"
    token.touch(mode=0o600)
    token.write_text(secrets.token_hex(32))
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("RAY_")},
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_USAGE_STATS_ENABLED": "0",
        "OMP_NUM_THREADS": "1",
    }
    port, dashboard, client, agent = free_ports(4)
    with (folder / "head.log").open("wb") as log:
        head = subprocess.Popen(
            [
                *(str(BIN / "ray"), "start", "--head", "--block", "--disable-usage-stats"),
                *(f"--temp-dir={folder}", "--node-ip-address=127.0.0.1", f"--port={port}"),
                *("--include-dashboard=true", f"--dashboard-port={dashboard}"),
                *(f"--ray-client-server-port={client}", f"--dashboard-agent-listen-port={agent}"),
                *("--num-cpus=2", "--num-gpus=0", f"--object-store-memory={200 * 2**20}"),
            ],
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        shell = Submitter(environment, f"http://127.0.0.1:{dashboard}")
        wait_until_it_answers(shell, head, folder / "head.log")
        yield shell
    finally:
        end(head, folder)


def wait_until_it_answers(shell: Submitter, head: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + SECONDS_TO_START
    while (answer := shell.run("list")).returncode:
        late = head.poll() is not None or time.monotonic() > deadline
        assert not late, f"{log.read_text()}\n{answer.stderr}"
        time.sleep(1)


def end(head: subprocess.Popen[bytes], folder: Path) -> None:
    """End the head and what it started: those that have its folder on their command line."""
    for pid in (head.pid, *started_in(folder)):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    head.wait()
    shutil.rmtree(folder, ignore_errors=True)


def started_in(folder: Path) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if os.fsencode(folder) in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@pytest.fixture(scope="module")
def working_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project as somebody has it who is about to submit, with a scan that must stay at home."""
    folder = tmp_path_factory.mktemp("project")
    for package in PACKAGES:
        shutil.copytree(
            ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    for name in (".rayignore", ".gitignore"):
        shutil.copy(ROOT / name, folder / name)
    (folder / "scans").mkdir()
    (folder / "scans" / "patient_ct.nii.gz").write_bytes(b"a patient")
    return folder


def test_a_submitted_job_brings_its_code_ingests_scans_and_draws_a_volume(
    submitter: Submitter, working_dir: Path, model_16: Path, tmp_path: Path
) -> None:
    for seed in range(2):
        write_scan(tmp_path / "scans", f"p{seed}", seed)
    job = " && ".join(
        [
            "python -c 'import jobs; print(jobs.__file__)'",
            "ls scans 2>&1 | head -n 1",
            f"factory ingest {tmp_path}/scans --out {tmp_path}/cases --grid 16 --ray-address auto",
            f"factory generate --cases {tmp_path}/cases --model {model_16} --out {tmp_path}/lake "
            "--count 1 --steps 2 --device cpu --actors 1 --ray-address auto",
        ]
    )

    answer = submitter.submit(working_dir, job)

    assert answer.returncode == 0, answer.stdout[-3000:] + answer.stderr[-3000:]
    # The code is that of the working directory, not what is installed; the scan was not sent.
    assert "/_ray_pkg_" in answer.stdout
    assert "patient_ct" not in answer.stdout
    rows = read_manifest(tmp_path / "lake" / MANIFEST).to_pylist()
    assert sorted(row["kind"] for row in rows) == ["real", "real", "synthetic"]
    assert "'git_sha': 'f00d'" in submitter.run("list").stdout


def test_without_the_authentication_mode_the_token_is_not_sent(
    submitter: Submitter, tmp_path: Path
) -> None:
    answer = submitter.run("list", RAY_AUTH_MODE="disabled", HOME=str(tmp_path))

    assert answer.returncode != 0
    assert "authentication token" in answer.stdout + answer.stderr
