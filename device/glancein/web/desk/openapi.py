"""The table of routes as an OpenAPI 3.1 document."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from glancein import __version__
from glancein.web.access import Door
from glancein.web.security import SESSION_COOKIE, Endpoint, Field, Kind

Json = dict[str, Any]  # Any: any JSON value
_KINDS: dict[str, Json] = {
    "string": {"type": "string"},
    "boolean": {"type": "boolean"},
    "file": {"type": "string", "format": "binary"},
    "files": {"type": "array", "items": {"type": "string", "format": "binary"}},
}
_REFUSALS = {
    "401": "not signed in",
    "403": "not allowed, or no CSRF token",
    "404": "not there, or not any more",
    "422": "cannot be used; the sentence says why",
    "429": "too many wrong tries; the sentence says when to try again",
    "503": "a database or a model is busy, away or damaged; the sentence says what to do",
}
_EVERYWHERE = ("401", "403", "422", "503")


def document(table: Sequence[Endpoint]) -> Json:
    """Every call under /api/v1; the pages are not part of it."""
    paths: dict[str, Json] = {}
    for endpoint in table:
        if endpoint.kind is Kind.API:
            path = endpoint.path
            paths.setdefault(path, {})[endpoint.method.lower()] = _operation(endpoint, path)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "glancein desk",
            "version": __version__,
            "description": "Everything the HR desk does, for programs. Send an integration's token as "
            "`Authorization: Bearer …`; a browser's session needs the header X-CSRF-Token on every change.",
        },
        "paths": dict(sorted(paths.items())),
        "components": {
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "session": {"type": "apiKey", "in": "cookie", "name": SESSION_COOKIE},
            },
            "schemas": {
                "Refusal": {
                    "type": "object",
                    "required": ["error"],
                    "properties": {
                        "error": {
                            "type": "string",
                            "description": "one sentence: what is wrong and what to do",
                        },
                        "reason": {
                            "type": "string",
                            "description": "a photo's reason, as in docs/reasons.md",
                        },
                        "offsets": {
                            "type": "string",
                            "description": "of a time that came twice: both offsets from UTC, earlier first",
                        },
                    },
                }
            },
        },
    }


def _operation(endpoint: Endpoint, path: str) -> Json:
    operation: Json = {
        "summary": endpoint.summary,
        "operationId": re.sub(r"\W+", "_", f"{endpoint.method} {path.removeprefix('/api/v1/')}")
        .strip("_")
        .lower(),
        "responses": _responses(endpoint),
    }
    parameters = [_parameter(Field(name, name), "path") for name in re.findall(r"\{(\w+)\}", path)]
    parameters += [_parameter(entry, "query") for entry in endpoint.asks]
    if parameters:
        operation["parameters"] = parameters
    if endpoint.takes:
        kind = "multipart/form-data" if endpoint.takes_files else "application/json"
        operation["requestBody"] = {"required": True, "content": {kind: {"schema": _schema(endpoint.takes)}}}
    match endpoint.needs:
        case Door.ANYBODY:
            operation["security"] = []
        case Door.SIGNED_IN:
            operation["security"] = [{"session": []}]
        case Door.KNOWN:
            operation["security"] = [{"token": []}, {"session": []}]
        case permission:
            operation["security"] = [{"token": []}, {"session": []}]
            operation["x-needs"] = permission.value
    return operation


def _responses(endpoint: Endpoint) -> Json:
    refusal = {"application/json": {"schema": {"$ref": "#/components/schemas/Refusal"}}}
    answers: Json = {"2XX": {"description": "done", "content": {kind: {} for kind in endpoint.gives}}}
    for status in sorted({*_EVERYWHERE, *endpoint.refuses}):
        if not (endpoint.needs is Door.ANYBODY and status == "403" and endpoint.method == "GET"):
            answers[status] = {"description": _REFUSALS[status], "content": refusal}
    return answers


def _parameter(entry: Field, place: str) -> Json:
    return {
        "name": entry.name,
        "in": place,
        "required": place == "path" or entry.required,
        "description": entry.about,
        "schema": {"type": "string"},
    }


def _schema(fields: Sequence[Field]) -> Json:
    return {
        "type": "object",
        "properties": {f.name: _KINDS[f.kind] | {"description": f.about} for f in fields},
        "required": [f.name for f in fields if f.required],
    }
