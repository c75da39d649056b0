"""What the documents show is what happens."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from prt_bench.cli.main import invoke
from prt_bench.executors.local import LocalExecutor, WorkerDied

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = [
    block
    for text in (
        README,
        *(
            (ROOT / "docs" / name).read_text()
            for name in ("real-models.md", "text.md", "costs.md", "lifetime.md", "statistics.md", "board.md")
        ),
    )
    for block in re.findall(r"```sh\n(.*?)```", text, re.S)
]
COMMANDS = [
    line.split("#")[0].strip() for block in BLOCKS for line in block.splitlines() if line.startswith("prt-bench")
]
PLUGIN = next(iter(re.findall(r"```python\n(.*?)```", README, re.S)))


def never(*arguments: object, **options: object) -> None:
    raise WorkerDied("not started: only the request is tried here")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_documents_is_understood(
    command: str,
    image_folder: Callable[[str, int, int], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    if "../shared/data" in command and not (ROOT.parent / "shared" / "data").is_dir():
        pytest.skip("../shared/data is not here")
    monkeypatch.chdir(tmp_path)
    image_folder("my_folder", 5, 3)
    (tmp_path / "mine.py").write_text(PLUGIN)
    words = [word.replace("../shared", str(ROOT.parent / "shared")) for word in shlex.split(command)[1:]]
    if words[0] == "run" and "--dry-run" not in words:
        words.append("--dry-run")
    # Planning is real; what a worker would do is tried by the tests of the command line.
    monkeypatch.setattr(LocalExecutor, "call", never)
    code = invoke([*words, "--out", str(tmp_path / "out"), "--store", str(tmp_path / "store")])
    shown = capfd.readouterr()
    if words[0] == "board":
        # In an empty folder: it is the request that is tried.
        assert code == 2
        assert re.search(r"holds no results yet|in use|neither a folder nor a release|no record holds", shown.err)
    elif words[0] in {"results", "lifetime"}:
        assert "holds no results yet" in shown.err
    elif words[0] in {"cost", "check"}:
        assert (code, "only the request is tried" in shown.err) == (1, True)
    else:
        assert code == 0, shown.err


def test_the_two_commands_do_what_the_readme_says() -> None:
    makefile = (ROOT / "Makefile").read_text()
    assert "make demo" in README
    assert "make test" in README
    assert re.search(r"^demo:.*\n\t\$\(BIN\)/prt-bench run\n", makefile, re.M)
    assert "make test" in (ROOT / ".ci" / "run").read_text()


@pytest.mark.parametrize(
    "name",
    ["README.md", "CONTRIBUTING.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")))],
)
def test_links_and_pictures_lead_somewhere(name: str) -> None:
    text = (ROOT / name).read_text()
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert target.startswith("https://") or (ROOT / name).parent.joinpath(target).exists(), target
