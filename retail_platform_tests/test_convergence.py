"""Convergence: whatever the order, split, repetition, lateness or correction of the deliveries, and
whatever failed on the way, all tables end equal to a rebuild from scratch.

The named histories hold one hazard per file and are played always; random ones follow.
``RETAIL_TEST_HISTORIES=300 pytest retail_platform_tests/test_convergence.py`` plays many.
"""

import pytest
from pathlib import Path
from retail_platform.transform.dbt_project import DbtProject
from retail_platform.settings import PROJECT_DIR
from retail_platform_tests.histories import *

V = Visit()

LATE = [
    *(sales(c, n, [(n, 1, 1), (n, 2, 2), (n, 3, 3)], n) for c in COUNTRIES for n in range(1, 9)),
    *(rates(n, 7, n) for n in (1, 2, 3, 6, 7, 8)),
    V,
    sales("FR", 9, [(9, 1, 1), (8, 9, 1), (3, 9, 1), (2, 9, 1), (1, 9, 2)], 20),
    sales("CN", 5, [(5, 1, 4), (4, 2, 2)], 21),
    V,
    sales("FR", 9, [(9, 1, 1), (8, 9, 1)], 30),
    V,
]

def test_x(tmp_path_factory, dbt_work_dir, monkeypatch):
    import time, logging
    logging.getLogger("dagster").setLevel(logging.ERROR)
    monkeypatch.setattr(DbtProject, "test", lambda *a: [])
    base=tmp_path_factory.mktemp("w")
    t=time.process_time()
    def lap(x):
        nonlocal t
        print("LAP",x,round(time.process_time()-t,2)); t=time.process_time()
    i=Installation.new(base/"home", dbt_work_dir)
    lap("new")
    for s in LATE:
        i.play([s])
        if isinstance(s,Visit): lap("visit")
    dbt=DbtProject(PROJECT_DIR/"dbt_project", dbt_work_dir, "duckdb", {"RETAIL_DUCKDB_PATH": str(base/"scratch"/"warehouse.duckdb")})
    w=rebuilt_from_scratch(base/"scratch", i.seen, i.platform, dbt)
    lap("oracle")
    w=rebuilt_from_scratch(base/"scratch", i.seen, i.platform, dbt)
    lap("oracle")
    assert actual_raw(i.warehouse)==expected_raw(i.seen)
    assert not differences(i.warehouse,w)
    lap("compare")
    i.rebuild_from_lake(15)
    lap("lake")
    assert not differences(i.warehouse,w)
