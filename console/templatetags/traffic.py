"""Filters of the pages that show rates and failures."""

from __future__ import annotations

from django import template

from console.ui.traffic_charts import rate as rate_words

register = template.Library()


@register.filter
def rate(value: float) -> str:
    return rate_words(value)


@register.filter
def short_name(dotted: str) -> str:
    """Return the class name of a dotted path: "httpx.ConnectTimeout" -> "ConnectTimeout"."""
    return dotted.rpartition(".")[2] or dotted
