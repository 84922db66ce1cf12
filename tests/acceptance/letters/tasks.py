"""What the site had its Celery app for, before there were chats."""

from __future__ import annotations

from pathlib import Path

from celery import shared_task


@shared_task  # type: ignore[untyped-decorator]
def send_letter(path: str) -> None:
    Path(path).write_text("Dear Ada")
