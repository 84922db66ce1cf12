"""The demo site with the app of the documentation in it. `desk` is in a folder of the test's own."""

from project.settings import *  # noqa: F403
from project.settings import INSTALLED_APPS, LLMAPP_HOME
from project.settings import LLMAPP as _LLMAPP

INSTALLED_APPS = [*INSTALLED_APPS, "desk"]
ROOT_URLCONF = "tests.acceptance.calling.urls"
LLMAPP = {**_LLMAPP, "MAX_ACTIVE_RUNS_PER_USER": 20}
EMAIL_BACKEND = "django.core.mail.backends.filebased.EmailBackend"
EMAIL_FILE_PATH = LLMAPP_HOME / "mail"
