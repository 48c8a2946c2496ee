"""glancein doctor and bench: is this machine fit, and how fast is it."""

from __future__ import annotations

import math
from contextlib import closing
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console

from glancein import wiring
from glancein.cli.app import AsJson, DataFolder, app
from glancein.cli.output import Output, table
from glancein.errors import SettingsError

SOMETHING_BROKEN = 1


@app.command()
def doctor(
    *,
    camera: Annotated[
        str | None, typer.Option(help="Camera to try instead of the one in the settings.")
    ] = None,
    broker: Annotated[
        str | None, typer.Option(help="Broker to try instead of the one in the settings.")
    ] = None,
    send_again: Annotated[
        bool, typer.Option("--send-again", help="First send again what the consumer refused.")
    ] = False,
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """Check settings, models, database, camera, broker, clock and disk; say what to do.

    Exit code 1 if something is broken.
    """
    from glancein.doctor import State, examine, examine_without_settings  # noqa: PLC0415  # only here

    try:
        home = wiring.open_home(data)
    except SettingsError as err:
        if send_again:
            raise
        checks = list(examine_without_settings(wiring.data_folder(data), err))
    else:
        if send_again:
            with closing(wiring.open_ledger(home)) as ledger:
                ledger.send_again()
        checks = list(examine(home, camera=camera, broker=broker))
    rows = [(check.state, check.what, check.said, check.advice) for check in checks]
    Output(as_json).result(
        [asdict(check) for check in checks],
        lambda console: console.print(table("glancein doctor", "", "what", "found", "what to do", rows=rows)),
    )
    if any(check.state is State.BROKEN for check in checks):
        raise typer.Exit(SOMETHING_BROKEN)


@app.command()
def bench(
    *,
    repeats: Annotated[int, typer.Option(min=3, max=10_000, help="Times each stage is run.")] = 50,
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """Measure the milliseconds of each stage on this machine, and the memory."""
    from glancein.bench import measure, peak_memory_mb  # noqa: PLC0415  # only here

    timings = list(measure(wiring.open_home(data), repeats=repeats))
    memory_mb = peak_memory_mb()
    rows = [
        (t.stage, f"{t.median_ms:.2f}", "" if math.isnan(t.p95_ms) else f"{t.p95_ms:.2f}") for t in timings
    ]

    def tell(console: Console) -> None:
        console.print(table("milliseconds", "stage", "median", "95th percentile", rows=rows))
        console.print(f"peak memory {memory_mb:.0f} MB")

    stages = [
        {"stage": t.stage, "median_ms": t.median_ms, "p95_ms": None if math.isnan(t.p95_ms) else t.p95_ms}
        for t in timings
    ]
    Output(as_json).result({"stages": stages, "peak_memory_mb": memory_mb}, tell)
