"""A newcomer types what docs/quickstart.md and the README show, in an empty folder with an empty home."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support import write_scan

from manifests.read import mix_of

pytestmark = [pytest.mark.ray, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent


def shown(page: str, language: str, heading: str) -> str:
    """Return what a section of a page shows to be typed."""
    text = (ROOT / page).read_text("utf-8").split(f"\n{heading}\n")[1].split("\n## ")[0]
    found = re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)
    # The environment of the test is the activated one.
    return "".join(found).replace(". .venv/bin/activate\n", "")


def typed(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    kept = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
    home = folder / "home"
    home.mkdir(exist_ok=True)
    return subprocess.run(
        ["bash", "-euc", script],
        cwd=folder,
        env=kept | {"HOME": str(home), "PATH": f"{BIN}:{kept['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_quickstart_leads_from_scans_to_a_mix(tmp_path: Path) -> None:
    for number in range(3):
        write_scan(tmp_path / "scans", f"p{number}", seed=number)
    script = shown("docs/quickstart.md", "sh", "## Your scans")
    assert script.count("factory ") == 7
    ended = typed(script, tmp_path)
    assert ended.returncode == 0, ended.stderr
    counts = mix_of(tmp_path / "lake" / "manifest.parquet")
    assert (counts.num_real, counts.num_synthetic) == (3, 1)

    code = shown("docs/quickstart.md", "python", "## Your scans")
    (tmp_path / "count.py").write_text(code)
    counted = typed("python count.py", tmp_path)
    assert counted.returncode == 0, counted.stderr
    assert "split: string" in counted.stdout

    # The README's lines, on what is there by now.
    script = shown("README.md", "sh", "## Your scans").split("factory evaluate")[0]
    for typed_line, run_line in (
        ("factory mix lake other-lake", "factory mix lake"),
        # It serves until it is ended.
        ("factory view lake", "factory view --help"),
    ):
        assert typed_line in script
        script = script.replace(typed_line, run_line)
    again = typed(script, tmp_path)
    assert again.returncode == 0, again.stderr
    assert "resuming: 1 of 1 items are done" in again.stderr
