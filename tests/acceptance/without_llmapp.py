"""The settings of the demo site as if it had never had llmapp."""

from __future__ import annotations

from project.settings import *  # noqa: F403
from project.settings import INSTALLED_APPS as APPS_WITH_US
from project.settings import MIDDLEWARE as MIDDLEWARE_WITH_US

INSTALLED_APPS = [name for name in APPS_WITH_US if name != "llmapp"]
MIDDLEWARE = [name for name in MIDDLEWARE_WITH_US if not name.startswith("llmapp.")]
ROOT_URLCONF = "tests.acceptance.without_llmapp_urls"
