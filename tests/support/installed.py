"""The package as people get it: a wheel, in an environment that knows nothing of this checkout.

environment = install(build_wheel(folder), folder)      # its Python
start_project(environment, folder)                      # a site with users and static files of its own
add_llmapp(folder)                                      # by the lines of the README
"""

from __future__ import annotations

import os
import re
import shutil
import site
import subprocess
import sys
import sysconfig
from pathlib import Path

from cryptography.fernet import Fernet

from .site import ROOT

THEIRS = ROOT / "tests" / "acceptance" / "existing_site"

#: What a wheel is made of.
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "llmapp")

#: Passed on to the site; whatever else is set here, it must not need.
PASSED_ON = ("PATH", "HOME", "LANG", "TMPDIR", "CI")


def build_wheel(folder: Path) -> Path:
    """Build it from a copy: setuptools writes beside its sources."""
    source = folder / "source"
    source.mkdir()
    for name in SOURCES:
        path = ROOT / name
        copy = shutil.copytree if path.is_dir() else shutil.copy
        copy(path, source / name)
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(source))
    (wheel,) = folder.glob("*.whl")
    return wheel


def install(wheel: Path, folder: Path) -> Path:
    """Make an environment with the wheel and return its Python.

    Its dependencies are this environment's: a line in a `.pth` file adds their folder, but reads no `.pth` in
    there, so that an editable llmapp stays out.
    """
    environment = folder / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    python = environment / "bin" / "python"
    pip("--python", str(python), "install", "--no-deps", "--no-index", str(wheel))
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(environment)}))
    (packages / "dependencies.pth").write_text("\n".join(site.getsitepackages()))
    return python


def pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    # With this checkout on the path pip would take the package for installed already.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr


def environment_of_installed(home: Path) -> dict[str, str]:
    """Return what the site's processes see: nothing of this checkout, and no settings but its own."""
    passed_on = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    return {**passed_on, "LLMAPP_HOME": str(home), "LLMAPP_ENCRYPTION_KEY": Fernet.generate_key().decode()}


def start_project(python: Path, folder: Path) -> None:
    """Make the site as it was before."""
    folder.mkdir()
    subprocess.run([python, "-m", "django", "startproject", "mysite", folder], check=True, cwd=folder, env={})
    shutil.copytree(THEIRS, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    append(folder / "mysite" / "settings.py", (folder / "mysite" / "theirs.py").read_text())
    append(folder / "mysite" / "urls.py", (folder / "mysite" / "pages.py").read_text())


def add_llmapp(folder: Path) -> None:
    """Paste the README's lines."""
    for name, lines in lines_to_paste().items():
        append(folder / "mysite" / name, lines)
    template = folder / "templates" / "help.html"
    template.write_text(template.read_text().replace("Ask us anything.</p>", f"Ask us anything.</p>{template_lines()}"))


def lines_to_paste() -> dict[str, str]:
    """Return what README's "Add it to your site" wants in each file."""
    return dict(re.findall(r"```python\n# (\S+\.py), at the end\n(.*?)```", section(), re.S))


def template_lines() -> str:
    """Return what it wants in a template."""
    (lines,) = re.findall(r"```django\n(.*?)```", section(), re.S)
    return str(lines)


def section() -> str:
    return (ROOT / "README.md").read_text().partition("\n## Add it to your site\n")[2].partition("\n## ")[0]


def append(path: Path, text: str) -> None:
    path.write_text(f"{path.read_text()}\n\n{text}")
