"""The score that the classifier is held to, and the program that prints it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import classifier

FIXTURES = Path(__file__).parents[1] / "fixtures"


@pytest.mark.parametrize("name", ["provider_errors.jsonl", "provider_errors_more.jsonl"])
def test_real_errors_are_understood(name: str) -> None:
    """Of real errors, each judged before it was shown to the classifier, at least 97 in 100 are understood."""
    results = classifier.outcomes(classifier.read(FIXTURES / name))
    assert len(results) > 100
    assert classifier.score(results) >= 0.97, [result.row["id"] for result in results if not result.right]


def test_it_prints_the_score_and_the_misses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        {"id": 1, "provider": "a", "status": 401, "headers": {}, "body": "", "exception": None, "expected": "auth"},
        {"id": 2, "provider": "b", "status": 401, "headers": {}, "body": "", "exception": None, "expected": "billing"},
        {"id": 3, "provider": "b", "status": 401, "expected": "billing", "alternatives": ["auth"]},
    ]
    file = tmp_path / "errors.jsonl"
    file.write_text("\n".join(json.dumps(row) for row in rows))
    assert classifier.main([str(file), "--repeats", "1"]) == 0
    printed = capsys.readouterr().out
    assert "all             0.667  2/3" in printed
    assert "held-out third  0.000  0/1" in printed
    assert "us a row" in printed
    assert "  billing                 0.500  1/2" in printed
    assert "miss 2 (b, 401): billing, got auth" in printed
