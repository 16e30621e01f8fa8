"""``guardhouse doctor``: looks at everything the house stands on; every fault comes with its remedy."""

import dataclasses
import json
from typing import Annotated

import typer

from guardhouse.cli import doctor_database, doctor_engine, doctor_limits, doctor_machine, doctor_settings
from guardhouse.cli.finding import Mark
from guardhouse.cli.local_settings import local_settings


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("doctor")(doctor)


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Check settings, machine, database, objects, worker, agent, detection; exit 1 with warnings, 2 with failures."""
    settings = local_settings(must_run=False)
    findings = [
        *doctor_machine.look(settings),
        *doctor_settings.look(settings),
        *doctor_database.look(settings),
        *doctor_limits.look(settings),
        *doctor_engine.look(settings),
    ]
    worst = max(findings, key=lambda finding: finding.mark.severity).mark
    if as_json:
        document = {"worst": worst.name.lower(), "findings": [dataclasses.asdict(one) for one in findings]}
        print(json.dumps(document, indent=1, default=lambda mark: mark.name.lower()))
    else:
        for finding in findings:
            print(finding.line())
        count = sum(finding.mark is not Mark.GOOD for finding in findings)
        print(f"\n{'Nothing to mend.' if not count else f'{count} of {len(findings)} need attention.'}")
    raise typer.Exit(worst.severity)
