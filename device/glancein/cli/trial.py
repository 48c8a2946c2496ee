"""glancein demo: the whole job on this machine, without a camera or a broker."""

from __future__ import annotations

import tempfile
from pathlib import Path

import typer

from glancein.cli.app import AsJson, app
from glancein.cli.output import Output, open_console, table

NOT_AS_PROMISED = 1


@app.command()
def demo(*, as_json: AsJson = False) -> None:
    """Enrol one photo, show a replayed camera other photos and strangers, and watch HR's feed.

    Ends with exit code 0 if the enrolled person was checked in exactly once and the strangers were refused.
    """
    from glancein.demo import play  # noqa: PLC0415  # loads everything

    console = open_console(stderr=as_json)
    with tempfile.TemporaryDirectory(prefix="glancein-demo-") as folder:
        result = play(Path(folder), say=lambda line: console.print(line, markup=False, highlight=False))
    rows = [(e.time, e.person_id, e.direction, e.event_id, e.score) for e in result.rows]
    output = Output(as_json)
    output.result(
        result.as_json(),
        lambda page: page.print(table("what HR received", "time", "person", "", "event", "score", rows=rows)),
    )
    for failure in result.failures:
        console.print(f"not as promised: {failure}", markup=False)
    if result.failures:
        raise typer.Exit(NOT_AS_PROMISED)
    console.print("the enrolled person was checked in once, the strangers were refused", markup=False)
