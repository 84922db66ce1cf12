"""Static files under names that carry a hash of their content: browsers may keep them for ever."""

from __future__ import annotations

from django.contrib.staticfiles.storage import ManifestStaticFilesStorage


class HashedFiles(ManifestStaticFilesStorage):
    # Our scripts are modules that import each other, by their hashed names.
    support_js_module_import_aggregation = True
