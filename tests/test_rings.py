"""The direction of imports, read from the source: each ring knows those to its left, and none to its right.

core  <-  backends  <-  calls  <-  agents  <-  runs  <-  interfaces
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "llmapp"

#: Ring -> what of ours it may import, besides itself.
MAY_IMPORT = {
    "core": set[str](),
    "rendering": set[str](),
    "backends": {"core"},
    "calls": {"core", "backends"},
    "agents": {"core", "backends", "calls"},
    "conf": set[str](),
    "signals": set[str](),
    "encryption": {"conf"},
    "models": {"core", "conf", "encryption"},
    "runs": {"core", "rendering", "backends", "calls", "agents", "conf", "encryption", "models", "signals"},
}

#: What the rings from `core` to `agents` do not know of.
OUTSIDE_OF_THE_ENGINE = {"django", "channels", "celery", "kombu", "asgiref"}

#: Package -> where it may be imported, and nowhere else.
TAMED: dict[str, str | tuple[str, ...]] = {
    "httpx": "backends/http.py",
    "httpx_aiohttp": "backends/http.py",
    # Measuring is a client of our own doors, of no provider: what httpx adds would be in its figures.
    "aiohttp": ("backends/http.py", "measuring/clients.py"),
    "litellm": "backends/litellm.py",
    "markdown_it": "rendering/",
    "nh3": "rendering/",
    "pygments": "rendering/",
    "ag_ui": "api/",
    "opentelemetry": "runs/telemetry.py",
}

FILES = sorted(path for path in PACKAGE.rglob("*.py") if "migrations" not in path.parts)


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def ring_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[str]:
    """Give the full names of all modules that a file imports, wherever in it."""
    package = ["llmapp", *path.relative_to(PACKAGE).parts[:-1]]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            # `from llmapp import x` may name a module or a member.
            yield from (f"{module}.{alias.name}" if module == "llmapp" else module for alias in node.names)


def in_ring(*rings: str) -> list[Path]:
    return [path for path in FILES if ring_of(path) in rings]


@pytest.mark.parametrize("path", in_ring(*MAY_IMPORT), ids=name_of)
def test_a_ring_knows_only_those_to_its_left(path: Path) -> None:
    ring = ring_of(path)
    ours = {module.split(".")[1] for module in imports(path) if module.startswith("llmapp.")}
    assert ours - {"__version__"} <= MAY_IMPORT[ring] | {ring}


@pytest.mark.parametrize("path", in_ring("core"), ids=name_of)
def test_the_core_is_the_standard_library_and_no_clock(path: Path) -> None:
    foreign = {module.split(".")[0] for module in imports(path)} - set(sys.stdlib_module_names) - {"llmapp"}
    assert not foreign
    assert not {"time", "random", "secrets", "uuid", "os", "socket", "threading"} & set(imports(path))
    clocks = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Attribute)]
    assert not [n.attr for n in clocks if n.attr in ("now", "utcnow", "today") and isinstance(n.value, ast.Name)
                and n.value.id in ("datetime", "date")]  # fmt: skip


@pytest.mark.parametrize("path", in_ring("core", "backends", "calls", "agents", "rendering"), ids=name_of)
def test_the_engine_knows_no_orm_no_request_and_no_broker(path: Path) -> None:
    assert not {module.split(".")[0] for module in imports(path)} & OUTSIDE_OF_THE_ENGINE


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_what_is_tamed_is_tamed_in_one_place(path: Path) -> None:
    for package, home in TAMED.items():
        if not name_of(path).startswith(home):
            assert package not in {module.split(".")[0] for module in imports(path)}


def test_all_rings_are_there() -> None:
    assert {"core", "rendering", "backends", "calls", "agents", "runs", "models"} <= {ring_of(path) for path in FILES}


@pytest.mark.parametrize(
    "loading",
    [
        "import project.asgi; from django.urls import reverse; reverse('llmapp:chat')",
        "import llmapp.management.commands.llmapp",
    ],
    ids=["a web process", "a command"],
)
def test_most_processes_do_without_what_only_workers_need(loading: str) -> None:
    """litellm costs 160 MB and two seconds, for a worker that asks such a provider; Markdown is rendered in workers."""
    code = (
        f"import sys, django; django.setup(); {loading}\n"
        "heavy = {'litellm', 'openai', 'aiohttp', 'httpx', 'markdown_it', 'pygments'}\n"
        "print(sorted(heavy & sys.modules.keys()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PACKAGE.parent, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"
