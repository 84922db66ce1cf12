"""`llmapp stress` against a site with too little room. In a file of its own, for two sites are many connections."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.site import Site

from .test_stress import stress

pytestmark = [pytest.mark.acceptance, pytest.mark.wide]


def test_more_streams_than_the_workers_have_room_for(tmp_path: Path) -> None:
    with Site(tmp_path / "home", web=1, workers=1, arguments=["--concurrency", "2"]) as site:
        process = stress(site, "--streams", "3", "--seconds", "1")
        said, _ = process.communicate(timeout=60)
    assert process.returncode == 1, said
    assert "2 answers at a time have room in the workers." in said
    assert "Not ok: the workers have room for 2 of 3 answers." in said
