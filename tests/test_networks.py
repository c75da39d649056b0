"""Networks are kept warm, and only so many of them."""

from __future__ import annotations

import gc
import weakref

import pytest

from prt_bench.api import Places
from prt_bench.networks import Networks
from tests.conftest import Bench, quiet


@pytest.mark.parametrize("in_circles", [False, True])
def test_a_network_that_others_took_the_place_of_is_gone(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, in_circles: bool
) -> None:
    monkeypatch.setattr("prt_bench.networks.KEPT_NETWORKS", 1)
    networks = Networks(bench.registry, Places(), bench.store, "cpu", quiet)
    module = networks.get(bench.model("nano-rn16-a")).module
    if in_circles:
        module.register_forward_hook(lambda *_, held=module: None)
    left = weakref.ref(module)
    del module
    # Else it might go by itself at any time.
    gc.disable()
    try:
        networks.get(bench.model("nano-rn24-b"))
        assert left() is None
    finally:
        gc.enable()
