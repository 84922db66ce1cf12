"""What the package offers is what it says it offers."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import llmapp

PACKAGES = ["llmapp", "llmapp.models"]


@pytest.mark.parametrize("name", PACKAGES)
def test_all_that_is_named_is_there(name: str) -> None:
    module = importlib.import_module(name)
    assert [member for member in module.__all__ if not hasattr(module, member)] == []
    assert list(module.__all__) == sorted(module.__all__)


def test_every_model_is_exported() -> None:
    from django.apps import apps

    from llmapp import models

    assert {model.__name__ for model in apps.get_app_config("llmapp").get_models()} == set(models.__all__)


def test_what_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nothing_of_that_name"):
        _ = llmapp.nothing_of_that_name


def test_the_package_can_be_imported_before_django_is_set_up() -> None:
    """`INSTALLED_APPS` imports it before there are models."""
    code = "import sys, llmapp; llmapp.__version__; assert 'django.db' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=Path(llmapp.__file__).parent.parent, check=True, timeout=30)
