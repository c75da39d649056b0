"""`prt-bench show cell`, on records made by hand."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from prt_bench.board.releases import freeze
from prt_bench.cli.main import invoke
from tests.test_lifetime import put_record


def test_a_cell_of_a_release_is_shown_and_a_bad_file_beside_it_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put_record(tmp_path, "ported", right=15)
    put_record(tmp_path, "broken", status="failed")
    freeze(tmp_path, "first")
    shutil.rmtree(tmp_path / "results")
    for name, status in (("000", "ok"), ("001", "failed")):
        assert invoke(["--out", str(tmp_path), "show", "cell", name, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["status"] == status
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "bad.json").write_text("{}", encoding="utf-8")
    assert invoke(["--out", str(tmp_path), "show", "cell", "000", "--json"]) == 0
    assert capsys.readouterr().err == "not used: results/bad.json: cell: Field required\n"
