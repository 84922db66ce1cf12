"""The garbage collector is set once, and only where the site has not chosen for itself."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from llmapp.runs import garbage


@pytest.fixture
def _as_python_begins(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = gc.get_threshold()
    monkeypatch.setattr(garbage, "_settled", False)
    gc.unfreeze()
    gc.set_threshold(*garbage.DEFAULT)
    yield
    gc.unfreeze()
    gc.set_threshold(*before)
    gc.enable()


@pytest.mark.usefixtures("_as_python_begins")
def test_what_was_loaded_is_left_out() -> None:
    garbage.settle()
    assert gc.get_freeze_count() > 1000
    assert gc.get_threshold() == garbage.THRESHOLDS


@pytest.mark.usefixtures("_as_python_begins")
def test_a_site_s_own_choice_stays() -> None:
    gc.set_threshold(5000, 10, 10)
    garbage.settle()
    assert (gc.get_freeze_count(), gc.get_threshold()) == (0, (5000, 10, 10))


@pytest.mark.usefixtures("_as_python_begins")
def test_a_collector_that_is_off_stays_off() -> None:
    gc.disable()
    garbage.settle()
    assert (gc.isenabled(), gc.get_freeze_count()) == (False, 0)
