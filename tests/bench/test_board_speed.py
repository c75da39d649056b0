"""How long a board of years takes to be read and compared: `python -m pytest tests/bench --benchmark-enable`.

No assertion depends on a clock.
"""

from __future__ import annotations

from pathlib import Path

from pytest_benchmark.fixture import BenchmarkFixture

from prt_bench.board.reading import read_folder
from prt_bench.board.table import tables
from tests.board.many import write_many

RECORDS, ITEMS = 10_000, 1000


def test_ten_thousand_records_are_read_and_compared(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    # Where nothing is timed, that it runs is all there is to see.
    records, items = (RECORDS, ITEMS) if benchmark.enabled else (65, 40)
    made = write_many(tmp_path, records, items)
    held, found = benchmark.pedantic(lambda: ((read := read_folder(tmp_path)), tables(read.filed)), rounds=1)
    benchmark.extra_info |= {"records": made, "test items": items, "tables": len(found)}
    assert (len(held.filed), held.refused) == (made, [])
    assert sum(len(row.paths) for table in found for row in table.rows) == made
