"""What all rehearsals share."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home for the hub's library in the processes that the rehearsals start."""
    return tmp_path_factory.mktemp("home")
