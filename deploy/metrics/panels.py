"""Dashboards of Grafana (version 10 and later) from a few lines a panel."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["timeseries", "stat", "table", "heatmap", "bargauge"]
# Where the variables of a dashboard choose, and from what value on something wants to be looked at.
SOURCE, INDEX, MODEL = 'source=~"$source"', 'index=~"$index"', 'model=~"$model"'
WARN, BAD = ((1, "orange"),), ((1, "red"),)
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
_COLUMNS = 24
# A panel of which 1, or enough, is good.
RED, ONE_IS_GOOD = "red", ((1, "green"),)
# A table has labels for columns; what Prometheus adds of its own is left out.
_TABLE = [
    {"id": "merge", "options": {}},
    {
        "id": "organize",
        "options": {
            "excludeByName": dict.fromkeys(("Time", "Value", "__name__", "instance", "job"), True)
            | {f"Value #{query}": True for query in "AB"},
        },
    },
]


def quantiles(metric: str, by: str, where: str) -> list[tuple[str, str]]:
    """The median and the 95th percentile of what was observed in an hour."""
    rate = f"sum by (le, {by}) (rate({metric}_bucket{{{where}}}[1h]))"
    return [
        (f"histogram_quantile({quantile}, {rate})", f"{{{{{by}}}}} p{round(quantile * 100)}")
        for quantile in (0.5, 0.95)
    ]


@dataclass(frozen=True)
class Panel:
    """One question of an operator, as a drawing of some queries.

    `queries` have an expression and the name of what it gives, with labels as {{label}}. `steps`
    are (value, colour), rising: from a value on, its colour, and `base` below all of them. `page`
    is a path in the console.
    """

    title: str
    question: str
    queries: Sequence[tuple[str, str]]
    kind: Kind = "timeseries"
    unit: str = "short"
    width: int = 8
    height: int = 8
    steps: Sequence[tuple[float, str]] = ()
    stacked: bool = False
    base: str = "green"
    page: str | None = None
    dagster: str | None = None
    bottom: float | None = 0
    top: float | None = None

    def drawn(self, number: int, x: int, y: int) -> dict[str, Any]:
        """As Grafana reads it, at a place on the grid."""
        return {
            "id": number,
            "type": self.kind,
            "title": self.title,
            "description": self.question,
            "datasource": DATASOURCE,
            "gridPos": {"x": x, "y": y, "w": self.width, "h": self.height},
            "targets": [self._target(*each) for each in enumerate(self.queries)],
            "fieldConfig": {"defaults": self._defaults(), "overrides": []},
            "options": self._options(),
            "transformations": _TABLE if self.kind == "table" else [],
            "links": self._links(),
        }

    def _target(self, number: int, query: tuple[str, str]) -> dict[str, Any]:
        expr, legend = query
        is_table, is_heatmap = self.kind == "table", self.kind == "heatmap"
        return {
            "refId": chr(ord("A") + number),
            "datasource": DATASOURCE,
            "expr": " ".join(expr.split()),
            "legendFormat": legend,
            "format": "table" if is_table else "heatmap" if is_heatmap else "time_series",
            "instant": self.kind in ("table", "stat", "bargauge"),
            "range": self.kind in ("timeseries", "heatmap"),
        }

    def _defaults(self) -> dict[str, Any]:
        colours: list[dict[str, Any]] = [{"value": None, "color": self.base}]
        colours += [{"value": value, "color": colour} for value, colour in self.steps]
        found: dict[str, Any] = {
            "unit": self.unit,
            "thresholds": {"mode": "absolute", "steps": colours},
            "noValue": "none",
        }
        found |= {"min": self.bottom} if self.bottom is not None else {}
        found |= {"max": self.top} if self.top is not None else {}
        if self.kind == "timeseries":
            found["color"] = {"mode": "palette-classic"}
            found["custom"] = {
                "drawStyle": "line",
                "lineWidth": 1,
                "fillOpacity": 30 if self.stacked else 5,
                "showPoints": "never",
                "spanNulls": False,
                "stacking": {"mode": "normal" if self.stacked else "none", "group": "A"},
                "thresholdsStyle": {"mode": "line" if self.steps else "off"},
            }
        else:
            found["color"] = {"mode": "thresholds"}
        return found

    def _options(self) -> dict[str, Any]:
        reduced = {"calcs": ["lastNotNull"], "fields": "", "values": False}
        match self.kind:
            case "timeseries":
                return {
                    "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
                    "tooltip": {"mode": "multi", "sort": "desc"},
                }
            case "stat":
                return {"reduceOptions": reduced, "colorMode": "value", "graphMode": "none"}
            case "bargauge":
                return {
                    "reduceOptions": reduced,
                    "orientation": "horizontal",
                    "displayMode": "basic",
                }
            case "heatmap":
                return {"calculate": False, "yAxis": {"unit": "short"}, "legend": {"show": False}}
            case _:
                return {"showHeader": True, "cellHeight": "sm"}

    def _links(self) -> list[dict[str, Any]]:
        there = (("console", self.page), ("dagster", self.dagster))
        return [
            {"title": name.capitalize(), "url": f"${{{name}:raw}}{path}", "targetBlank": True}
            for name, path in there
            if path is not None
        ]


@dataclass(frozen=True)
class Board:
    """A dashboard: `rows` of panels by title; `variables` are labels by the metric to look in."""

    uid: str
    title: str
    about: str
    rows: dict[str, Sequence[Panel]]
    variables: dict[str, str] = field(default_factory=dict)
    hours: int = 24

    def drawn(self, *, console: str, dagster: str) -> dict[str, Any]:
        """The JSON model; `console` and `dagster` are the addresses that it links to."""
        return {
            "uid": f"rag_platform_{self.uid}",
            "title": self.title,
            "description": self.about,
            "tags": ["rag_platform"],
            "schemaVersion": 39,
            "version": 1,
            "editable": False,
            "graphTooltip": 1,
            "timezone": "utc",
            "time": {"from": f"now-{self.hours}h", "to": "now"},
            "refresh": "1m",
            "templating": {"list": list(self._variables(console, dagster))},
            "links": list(_links()),
            "annotations": {"list": [_ALERTS]},
            "panels": list(self._panels()),
        }

    def _variables(self, console: str, dagster: str) -> Iterable[dict[str, Any]]:
        yield {"name": "datasource", "label": "Prometheus", "type": "datasource"} | {
            "query": "prometheus",
            "hide": 0,
        }
        for label, metric in self.variables.items():
            query = f"label_values({metric}, {label})"
            yield {
                "name": label,
                "label": label.capitalize(),
                "type": "query",
                "datasource": DATASOURCE,
                "definition": query,
                "query": {"query": query, "refId": label},
                "refresh": 2,
                "sort": 1,
                "multi": True,
                "includeAll": True,
                "allValue": ".*",
                "current": {"text": "All", "value": "$__all"},
                "hide": 0,
            }
        for name, url in (("console", console), ("dagster", dagster)):
            # Not shown: an address is no choice of who looks.
            yield {"name": name, "type": "constant", "query": url, "hide": 2} | {
                "current": {"text": url, "value": url}
            }

    def _panels(self) -> Iterable[dict[str, Any]]:
        number, y = 1, 0
        for title, panels in self.rows.items():
            yield {
                "id": number,
                "type": "row",
                "title": title,
                "collapsed": False,
                "panels": [],
            } | {"gridPos": {"x": 0, "y": y, "w": _COLUMNS, "h": 1}}
            number, x, y, height = number + 1, 0, y + 1, 0
            for panel in panels:
                if x + panel.width > _COLUMNS:
                    x, y, height = 0, y + height, 0
                yield panel.drawn(number, x, y)
                number, x, height = number + 1, x + panel.width, max(height, panel.height)
            y += height


# Where something fired is drawn on every panel.
_ALERTS: dict[str, Any] = {
    "name": "Alerts",
    "enable": True,
    "iconColor": "red",
    "datasource": DATASOURCE,
    "expr": 'ALERTS{alertstate="firing",alertname!="",severity!=""}',
    "titleFormat": "{{alertname}}",
    "step": "60s",
}


def _links() -> Iterable[dict[str, Any]]:
    yield {"type": "dashboards", "title": "Dashboards", "tags": ["rag_platform"]} | {
        "asDropdown": True,
        "includeVars": False,
        "keepTime": True,
    }
    for name in ("console", "dagster"):
        yield {"type": "link", "title": name.capitalize(), "url": f"${{{name}:raw}}"} | {
            "targetBlank": True,
            "icon": "external link",
        }
