"""Form fields over the rules of `config_values`: a file and a form accept the same, and say the same."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.text import capfirst
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

Rule = Callable[[Any], Any]


def judged(rule: Rule, value: Any) -> Any:
    """Apply a rule. Raises `ValidationError` with the rule's words as a sentence."""
    try:
        return rule(value)
    except ValueError as error:
        raise ValidationError(f"{capfirst(str(error))}.") from None


class RuleField(forms.CharField):
    """Text that a rule judges."""

    def __init__(self, rule: Rule, **options: Any) -> None:
        super().__init__(**options)
        self._rule = rule

    def clean(self, value: Any) -> Any:
        text = super().clean(value)
        return judged(self._rule, text) if text else text


class TableField(forms.JSONField):
    """A JSON object that a rule judges. Empty means {}."""

    default_error_messages = {"invalid": gettext_lazy('Must be JSON, such as {"name": "value"}.')}

    def __init__(self, rule: Rule, **options: Any) -> None:
        options.setdefault(
            "widget", forms.Textarea(attrs={"rows": 4, "class": "vLargeTextField", "spellcheck": "false"})
        )
        super().__init__(**{"required": False, **options})
        self._rule = rule

    def clean(self, value: Any) -> Any:
        return judged(self._rule, super().clean(value) or {})

    def prepare_value(self, value: Any) -> Any:
        """Write it so that a person can read it; what was typed wrongly stays as it was typed."""
        if isinstance(value, dict) or value is None:
            return json.dumps(value, indent=2, ensure_ascii=False) if value else ""
        return super().prepare_value(value)


class OrderWidget(forms.MultiWidget):
    """Some selects, one under the other: the first that is tried, the second ..."""

    template_name = "admin/llmapp/order_widget.html"
    use_fieldset = True

    def __init__(self, choices: Iterable[tuple[str, str]], places: int) -> None:
        options = list(choices)
        super().__init__([forms.Select(choices=options) for _place in range(places)])
        for number, widget in enumerate(self.widgets, start=1):
            widget.attrs["aria-label"] = _("Place %(number)d") % {"number": number}

    def decompress(self, value: Any) -> list[str]:
        return list(value or [])


class OrderField(forms.MultiValueField):
    """An ordered choice of names, without repetition. Empty places are left out."""

    #: Empty places that are offered beyond those which are filled.
    SPARE = 2

    def __init__(self, choices: Iterable[tuple[str, str]], filled: int, **options: Any) -> None:
        known = [("", "---------"), *choices]
        places = filled + self.SPARE
        fields = [forms.ChoiceField(choices=known, required=False) for _place in range(places)]
        super().__init__(fields, widget=OrderWidget(known, places), required=False, require_all_fields=False, **options)

    def compress(self, data_list: list[str]) -> list[str]:
        names = [name for name in data_list if name]
        for name in names:
            if names.count(name) > 1:
                raise ValidationError(_("%(name)s is there twice.") % {"name": name})
        return names
