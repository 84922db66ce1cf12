"""The demo site for a person in a hurry: one user sends what many would. And with pages that are not ours."""

from project.settings import *  # noqa: F403
from project.settings import BASE_DIR, TEMPLATES
from project.settings import LLMAPP as _LLMAPP

LLMAPP = {**_LLMAPP, "SENDS_PER_MINUTE": 10_000}
ROOT_URLCONF = "tests.browser.urls"
TEMPLATES = [{**TEMPLATES[0], "DIRS": [BASE_DIR / "templates", BASE_DIR / "tests" / "browser" / "templates"]}]
