"""The demo site's settings: safe as they are, on files by default, on servers by three variables.

What the environment may say:

    LLMAPP_HOME             where state and secrets live; `var/` beside `manage.py`
    LLMAPP_ALLOWED_HOSTS    host names besides loopback, with commas
    LLMAPP_HTTPS            1 behind a proxy that speaks TLS and sets X-Forwarded-Proto
    LLMAPP_TRUSTED_ORIGINS  origins whose pages may post here, where a proxy changes the host, with commas
    LLMAPP_STATIC_ROOT      where `collectstatic` puts static files; they are then served under hashed names
    LLMAPP_SECRET_KEY       instead of the one in the home; or LLMAPP_SECRET_KEY_FILE
    LLMAPP_ENCRYPTION_KEYS  likewise, with spaces between them; or LLMAPP_ENCRYPTION_KEYS_FILE
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

from . import environment, home, servers

BASE_DIR = Path(__file__).resolve().parent.parent
LLMAPP_HOME = home.find(BASE_DIR / "var")
home.make(LLMAPP_HOME)

DEBUG = False
# Processes that share no home share these by the environment.
SECRET_KEY = environment.secret("LLMAPP_SECRET_KEY") or home.secret(LLMAPP_HOME, "secret_key", get_random_secret_key)
ENCRYPTION_KEYS = environment.secret("LLMAPP_ENCRYPTION_KEYS") or home.secret(
    LLMAPP_HOME, "encryption_keys", lambda: Fernet.generate_key().decode()
)
LLMAPP = {"ENCRYPTION_KEYS": ENCRYPTION_KEYS.split()}
ALLOWED_HOSTS = ["localhost", "127.0.0.1", "[::1]", *environment.listed("LLMAPP_ALLOWED_HOSTS")]

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
    "llmapp.middleware.DatabaseAway",
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
# Seconds: a RabbitMQ that says nothing for two of these is gone.
CELERY_BROKER_HEARTBEAT = 6
# A run goes on when the broker goes away: it needs it for nothing. Delivered a second time, it is claimed once.
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = False
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

# Behind a proxy. Without TLS nothing may set that header for us, and cookies have to travel all the same.

HTTPS = environment.switched_on("LLMAPP_HTTPS")
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if HTTPS else None
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = LANGUAGE_COOKIE_SECURE = HTTPS
CSRF_TRUSTED_ORIGINS = environment.listed("LLMAPP_TRUSTED_ORIGINS")

# Languages and time

LANGUAGE_CODE = "en"
LANGUAGES = [("en", _("English")), ("zh-hans", _("Simplified Chinese"))]
USE_I18N = True
USE_TZ = True
TIME_ZONE = "UTC"

# Static files come straight from the packages: nothing has to be collected, unless somebody wants hashed names.

STATIC_URL = "static/"
STATICFILES_DIRS = [BASE_DIR / "static"]
STATIC_ROOT = environment.text("LLMAPP_STATIC_ROOT") or None
SERVESTATIC_USE_FINDERS = not STATIC_ROOT
if STATIC_ROOT:
    STORAGES = {
        "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
        "staticfiles": {"BACKEND": "project.storage.HashedFiles"},
    }

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "{asctime} {levelname} {name}: {message}", "style": "{"}},
    "filters": {
        "acknowledged": {
            "()": "django.utils.log.CallbackFilter",
            "callback": lambda record: not record.getMessage().startswith("Couldn't ack"),
        },
    },
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": "WARNING"},
    "loggers": {
        # Not one line for each page that is not there.
        "django.request": {"level": "ERROR"},
        # Nor one for each scanner that makes up a host name: it gets a 400.
        "django.security.DisallowedHost": {"level": "CRITICAL"},
        # Nor a traceback each second while Redis is away: `llmapp` says it once.
        "channels_redis": {"level": "CRITICAL"},
        # Which server is away, and when it is back, is said once by `llmapp.away`.
        "psycopg.pool": {"level": "CRITICAL"},
        # A message that cannot be acknowledged is delivered again, which does no harm.
        "celery.worker.request": {"filters": ["acknowledged"]},
        "llmapp": {"level": "INFO"},
    },
}
