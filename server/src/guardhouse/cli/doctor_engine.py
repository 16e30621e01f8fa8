"""Doctor's look at what judges prompts: the model that ships, and engines elsewhere."""

import asyncio
from collections.abc import Iterator

from guardhouse.cli.finding import Finding, failure, good, warning
from guardhouse.detections.model_file import BadModel, check_model, shipped_model
from guardhouse.detections.remotes.engines import way_to
from guardhouse.detections.remotes.remote import Health, Remote
from guardhouse.settings import Settings


def look(settings: Settings) -> Iterator[Finding]:
    """Yield what is found."""
    try:
        yield good("Detection model", f"{check_model(shipped_model())}, whole, and made for its rules")
    except BadModel as error:
        yield failure("Detection model", str(error), "Install Guardhouse again.")
    for name, health in asyncio.run(_health(settings)).items():
        what = f"Detection engine {name}"
        if health == "healthy":
            yield good(what, health)
        else:
            yield warning(
                what,
                f"{health}; until it is well, policies that name it do as their fail mode says",
                f"Look after the engine, or correct the url of {name} in GUARDHOUSE_DETECT_REMOTES.",
            )


async def _health(settings: Settings) -> dict[str, Health]:
    outbound = way_to(settings.detect_remotes)
    try:
        return {
            name: await Remote(name, setting, outbound, lambda *_: None).health()
            for name, setting in settings.detect_remotes.items()
        }
    finally:
        await outbound.close()
