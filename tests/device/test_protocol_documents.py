"""The published documents say what the code does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from glancein.domain import wire

DOCS = Path(__file__).resolve().parents[2] / "docs"
LEAVES = ("event", "batch", "state", "ack", "refuse", "resend")


@pytest.fixture(scope="module")
def asyncapi() -> dict[str, Any]:  # Any: a parsed document
    """The AsyncAPI document."""
    parsed: dict[str, Any] = yaml.safe_load((DOCS / "asyncapi.yaml").read_text())  # Any: as above
    return parsed


@pytest.mark.parametrize("leaf", LEAVES)
def test_every_topic_is_in_every_document(leaf: str, asyncapi: dict[str, Any]) -> None:  # Any: as above
    """AsyncAPI, the protocol and the code name the same topics."""
    assert asyncapi["channels"][leaf]["address"] == wire.topic("{site}", "{kiosk}", leaf)
    assert f"`{wire.topic('<site>', '<kiosk>', leaf)}`" in (DOCS / "protocol.md").read_text()


def test_every_reference_in_asyncapi_leads_somewhere(asyncapi: dict[str, Any]) -> None:  # Any: as above
    """Inside the document and to the schema files."""
    for reference in _references(asyncapi):
        if reference.startswith("#/"):
            place: Any = asyncapi  # Any: as above
            for step in reference[2:].split("/"):
                place = place[step]
        else:
            json.loads((DOCS / reference).read_text())


def test_events_are_never_retained_and_states_are(asyncapi: dict[str, Any]) -> None:  # Any: as above
    """A replayed stale event has opened a door elsewhere."""
    retained = {
        name: operation["bindings"]["mqtt"]["retain"] for name, operation in asyncapi["operations"].items()
    }

    assert retained == {
        "publishEvent": False,
        "publishBatch": False,
        "publishState": True,
        "receiveAcknowledgement": False,
        "receiveRefusal": False,
        "receiveResend": False,
    }


@pytest.mark.parametrize("leaf", [*(leaf for leaf in LEAVES if leaf != "batch"), "left-out"])
def test_every_field_of_the_golden_payloads_is_described(leaf: str) -> None:
    """No field is sent that the schema does not name."""
    schema = json.loads((DOCS / "schemas" / f"{leaf}.schema.json").read_text())
    golden = list((DOCS.parent / "tests" / "golden").glob(f"{leaf}*.json"))

    assert golden
    for path in golden:
        assert set(json.loads(path.read_text())) <= set(schema["properties"])


def _references(node: object) -> list[str]:
    if isinstance(node, dict):
        own = [node["$ref"]] if "$ref" in node else []
        return own + [found for value in node.values() for found in _references(value)]
    if isinstance(node, list):
        return [found for value in node for found in _references(value)]
    return []
