from django.db import migrations


def delete_what_visitors_said(apps, schema_editor):
    """Without visitors every row needs a user again: what has none cannot stay.

    A migration of its own, for PostgreSQL alters no table whose rows were deleted in the same transaction.
    """
    alias = schema_editor.connection.alias
    for name in ("Run", "Conversation", "Visitor"):
        rows = apps.get_model("llmapp", name).objects.using(alias)
        (rows if name == "Visitor" else rows.filter(visitor__isnull=False)).delete()


class Migration(migrations.Migration):
    dependencies = [
        ("llmapp", "0004_visitors"),
    ]

    operations = [
        migrations.RunPython(migrations.RunPython.noop, delete_what_visitors_said),
    ]
