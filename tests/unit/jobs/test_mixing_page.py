"""What docs/mixing.md shows runs as it stands there."""

import re
import shlex
from pathlib import Path

import pytest
from mix_sources import case, drawn, make_source, nodules
from typer.testing import CliRunner

from jobs.app import app
from jobs.evaluate.records import MEMORISATION_SCHEMA, write_parquet
from manifests.read import mix_of

PAGE = (Path(__file__).parents[3] / "docs" / "mixing.md").read_text(encoding="utf-8")
COMMANDS = "".join(re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)).splitlines()
# Ray's own block is what tests/integration/test_mix.py does.
BLOCKS = [
    block for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if "ray_" not in block
]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the lakes that the page names."""
    cases = [case(name) for name in "ABC"]
    make_source(tmp_path / "cases", "cases", cases)
    for lake in ("lake", "lake-a", "lake-b"):
        made = [
            drawn("ABC"[i % 3], i, lake=lake, qc_verdict="accept", nodules=nodules(4 + 3 * i))
            for i in range(4)
        ]
        make_source(tmp_path / lake, "lake", [*cases, *made])
    copy = {
        "set": "lake",
        "work_id": "0" * 32,
        "case_id": "A",
        "patient_id": "A",
        "verdict": "copy",
    }
    write_parquet([copy], MEMORISATION_SCHEMA, tmp_path / "evaluation" / "memorisation.parquet")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_commands_and_the_code_of_the_page_run(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert len(COMMANDS) == 4
    for line in COMMANDS:
        factory, *arguments = shlex.split(line)
        assert factory == "factory"
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, result.output
    assert mix_of("mix-25.parquet").num_synthetic == mix_of("accepted.parquet").num_synthetic == 1
    assert mix_of("balanced.parquet").num_synthetic == 4
    assert mix_of("no-copies.parquet").num_real == 3

    assert len(BLOCKS) == 2
    for block in BLOCKS:
        exec(block, {})
    printed = capsys.readouterr().out
    assert "torch.Size([2, 1, 4, 6, 8]) torch.Size([2, 1, 4, 6, 8])" in printed
    assert "(1, 8, 6, 4) (1, 8, 6, 4)" in printed
