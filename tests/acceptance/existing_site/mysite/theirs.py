"""Appended to the settings that `startproject` wrote, before llmapp comes."""
# ruff: noqa: F821

DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1"]
INSTALLED_APPS += ["accounts"]
AUTH_USER_MODEL = "accounts.Member"
TEMPLATES[0]["DIRS"] = [BASE_DIR / "templates"]
STATIC_ROOT = BASE_DIR / "collected"
STORAGES = {"staticfiles": {"BACKEND": "mysite.storage.Storage"}}
MIDDLEWARE.insert(1, "servestatic.middleware.ServeStaticMiddleware")
