"""A chat in any template of a site, and what our own templates need.

    {% load llmapp %}
    {% llmapp_chat agent="support" %}                   a chat, as high as `height` says (640 pixels)
    {% llmapp_widget agent="support" title="Ask us" %}  a button at the bottom right that opens one

Both show a page of this site in an iframe. So the site's style sheets and ours cannot meet, our ids are nobody
else's, the strict policy of our pages holds whatever that of the site is, and the tag reads no database.
"""

from __future__ import annotations

from typing import Any

from django import template
from django.urls import reverse
from django.utils.translation import gettext as _

register = template.Library()


@register.filter
def plain(value: Any) -> str:
    """Write a number for programs, without the reader's separators; nothing when it is unknown."""
    return "" if value is None else format(value, "f") if hasattr(value, "as_tuple") else str(value)


@register.inclusion_tag("llmapp/tags/chat.html")
def llmapp_chat(agent: str, title: str = "", height: int = 640) -> dict[str, Any]:
    """Show a chat with this agent."""
    return {"page": page_of(agent), "title": title or _("Chat"), "height": height}


@register.inclusion_tag("llmapp/tags/widget.html")
def llmapp_widget(agent: str, title: str = "") -> dict[str, Any]:
    """Show a button that opens a chat with this agent."""
    return {"page": page_of(agent), "title": title or _("Chat")}


def page_of(agent: str) -> str:
    return reverse("llmapp:embedded", args=[agent])
