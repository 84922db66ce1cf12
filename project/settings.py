"""The demo site's settings: safe as they are, on files by default, on servers by three variables.

What the environment may say:

    LLMAPP_HOME             where state and secrets live; `var/` beside `manage.py`
    LLMAPP_ALLOWED_HOSTS    host names besides loopback, with commas
    DATABASE_URL            postgres://user:password@host/name
    REDIS_URL               redis://host/0
    CELERY_BROKER_URL       where it is not `REDIS_URL`
"""

from __future__ import annotations

import os
from pathlib import Path

from cryptography.fernet import Fernet
from django.core.management.utils import get_random_secret_key
from django.utils.translation import gettext_lazy as _

from . import home, servers

BASE_DIR = Path(__file__).resolve().parent.parent
LLMAPP_HOME = home.find(BASE_DIR / "var")
home.make(LLMAPP_HOME)

DEBUG = False
SECRET_KEY = home.secret(LLMAPP_HOME, "secret_key", get_random_secret_key)
ALLOWED_HOSTS = ["localhost", "127.0.0.1", "[::1]"]
ALLOWED_HOSTS += [host.strip() for host in os.environ.get("LLMAPP_ALLOWED_HOSTS", "").split(",") if host.strip()]

LLMAPP = {
    "ENCRYPTION_KEYS": home.secret(LLMAPP_HOME, "encryption_keys", lambda: Fernet.generate_key().decode()).split(),
}

# Applications

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "channels",
    "llmapp",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "project.headers.content_security_policy",
    "servestatic.middleware.ServeStaticMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "project.urls"
ASGI_APPLICATION = "project.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.template.context_processors.i18n",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

# Servers, or files instead of them

REDIS_URL = os.environ.get("REDIS_URL", "")
DATABASES = {"default": servers.database(os.environ.get("DATABASE_URL", ""), LLMAPP_HOME)}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
CHANNEL_LAYERS = servers.channel_layers(REDIS_URL)

# Celery. A lost message is found by the sweeper, so nothing here waits for long.

globals().update(servers.celery_broker(os.environ.get("CELERY_BROKER_URL") or REDIS_URL, LLMAPP_HOME))
CELERY_BROKER_CONNECTION_TIMEOUT = servers.CONNECT
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
CELERY_TASK_PUBLISH_RETRY_POLICY = servers.BRIEFLY
CELERY_TASK_ROUTES = {"llmapp.*": {"queue": "llmapp"}}
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_IGNORE_RESULT = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_WORKER_REDIRECT_STDOUTS = False

# People

LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "/chat/"
LOGOUT_REDIRECT_URL = "login"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("UserAttributeSimilarityValidator", "MinimumLengthValidator", "CommonPasswordValidator")
]
X_FRAME_OPTIONS = "DENY"
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
SESSION_COOKIE_SAMESITE = "Lax"

# Languages and time

LANGUAGE_CODE = "en"
LANGUAGES = [("en", _("English")), ("zh-hans", _("Simplified Chinese"))]
USE_I18N = True
USE_TZ = True
TIME_ZONE = "UTC"

# Static files come straight from the packages: nothing has to be collected.

STATIC_URL = "static/"
STATICFILES_DIRS = [BASE_DIR / "static"]
SERVESTATIC_USE_FINDERS = True

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "{asctime} {levelname} {name}: {message}", "style": "{"}},
    "filters": {
        # A site that is starting, and says so to whoever asks whether it is ready.
        "ready": {
            "()": "django.utils.log.CallbackFilter",
            "callback": lambda record: getattr(record, "status_code", None) != 503,
        },
    },
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": "WARNING"},
    "loggers": {
        # Not one line for each page that is not there.
        "django.request": {"level": "ERROR", "filters": ["ready"]},
        # Nor one for each scanner that makes up a host name: it gets a 400.
        "django.security.DisallowedHost": {"level": "CRITICAL"},
        "llmapp": {"level": "INFO"},
    },
}
