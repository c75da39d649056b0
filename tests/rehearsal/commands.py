"""`prt-bench` in a process of its own, with short cost sessions: online at a local hub, or offline."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.rehearsal.hub import HubStandIn

__all__ = ["PLUGIN", "SHORT", "Done", "fetch", "run"]

PLUGIN = Path(__file__).with_name("short_plugin.py")
SHORT = {"steps": 2, "batch_size": 4, "warmup_steps": 1}
COMMAND = """
import resource, sys
from functools import partial
import prt_bench.cli.run as command
from prt_bench.cli.main import invoke

command.RunOptions = partial(command.RunOptions, batch_sizes=(1,), session_seconds=0.02)
code = invoke(sys.argv[1:])
print("largest process:", resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024, file=sys.stderr)
sys.exit(code)
"""
FETCH = """
import sys, time
from huggingface_hub import constants
from prt_bench.cli.main import main

if sys.argv[1] == "impatient":  # small pieces, and no wait before each new attempt
    time.sleep = lambda seconds: None
    constants.DOWNLOAD_CHUNK_SIZE = 1 << 16
del sys.argv[1]
main()
"""
Done = subprocess.CompletedProcess[str]


def fetch(hub: HubStandIn, home: Path, *words: str, impatient: bool = False) -> Done:
    """`prt-bench fetch` from the local hub."""
    mode = "impatient" if impatient else "patient"
    return _call([FETCH, mode, "fetch", *words], hub.environment(home))


def run(
    hub: HubStandIn,
    home: Path,
    *words: str,
    recipe: Mapping[str, float] = SHORT,
    reduced: bool = True,
    threads: int | None = None,
) -> Done:
    """`prt-bench run --offline`, with short recipes and, `reduced`, small architectures; the hub could be asked."""
    more = {"HF_HUB_OFFLINE": "1", "REHEARSAL_RECIPE": json.dumps(dict(recipe))}
    more |= {"REHEARSAL_REDUCED": "1"} if reduced else {}
    more |= {"OMP_NUM_THREADS": str(threads)} if threads else {}
    return _call([COMMAND, "run", "--offline", "--plugin", str(PLUGIN), *words], hub.environment(home) | more)


def _call(words: list[str], environment: Mapping[str, str]) -> Done:
    return subprocess.run(
        [sys.executable, "-c", *words],
        env={**os.environ, "COLUMNS": "240", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
