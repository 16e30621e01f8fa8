"""Shapes of projects on the wire."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from guardhouse.agents.projects.ready_config import ReadyConfig
from guardhouse.agents.projects.settings import Baseline, ProjectSettings
from guardhouse.agents.projects.store import Project
from guardhouse.foundation.clock import rfc3339
from guardhouse.foundation.marked_members import ShownOnce
from guardhouse.foundation.pages import Pagination
from guardhouse.identity.addresses import parse_networks
from guardhouse.identity.store import ApiKey
from guardhouse.identity.wire import KeyName, LifeDays, NewKeyShape, new_key_shape
from guardhouse.identity.wire import Networks as AllowedNetworks

LONGEST_LIST = 1000
MAX_RETENTION_DAYS = 3650


def _trimmed(value: str) -> str:
    if value != value.strip() or not value.isprintable():
        raise ValueError("has spaces around it, or characters that do not print")
    return value


ExternalId = Annotated[
    str, Field(min_length=1, max_length=128, examples=["proj_demo"]), AfterValidator(_trimmed)
]
ExternalIds = Annotated[
    list[ExternalId],
    Field(max_length=50, description="Other names that clients send in X-Project-ID; case counts."),
]
ProjectName = Annotated[str, Field(min_length=1, max_length=200, examples=["Shop"])]
Network = Annotated[str, Field(max_length=50, examples=["192.0.2.0/24"])]
Networks = Annotated[list[Network], Field(max_length=LONGEST_LIST)]
Country = Annotated[str, Field(pattern=r"^[A-Z]{2}$", examples=["KP"])]
Countries = Annotated[list[Country], Field(max_length=250)]
Provider = Literal["AWS", "GCP", "Azure", "DigitalOcean", "Linode", "Vultr"]
Text = Annotated[str, Field(min_length=1, max_length=1024)]
Texts = Annotated[list[Text], Field(max_length=LONGEST_LIST)]
Count = Annotated[int, Field(ge=1, le=1_000_000_000)]


class BaselineShape(BaseModel):
    """What the application sets in its own code: dynamic rules replace whole lists there, so these are merged in."""

    model_config = ConfigDict(extra="forbid", title="Baseline")

    ip_blacklist: Networks = []
    ip_whitelist: Networks = []
    blocked_countries: Countries = []
    whitelist_countries: Countries = []
    blocked_cloud_providers: Annotated[list[Provider], Field(max_length=6)] = []
    blocked_user_agents: Texts = []
    suspicious_patterns: Texts = []
    global_rate_limit: Count | None = None
    global_rate_window: Annotated[Count | None, Field(description="Seconds.")] = None
    endpoint_rate_limits: Annotated[
        dict[Annotated[str, Field(min_length=1, max_length=2048)], tuple[Count, Count]],
        Field(max_length=LONGEST_LIST, description="Calls and seconds, by path."),
    ] = {}


class ProjectSettingsShape(BaseModel):
    """How telemetry of a project is taken and kept, and what its rules never touch."""

    model_config = ConfigDict(extra="forbid", title="ProjectSettings")

    encryption: Annotated[
        Literal["off", "allowed", "required"],
        Field(description="`off`: sealed envelopes are refused; `required`: plain bodies are."),
    ] = "allowed"
    signature: Annotated[
        Literal["off", "if_present", "required"],
        Field(
            description="Whether X-Payload-Signature is checked; `if_present` counts once a secret exists."
        ),
    ] = "if_present"
    keep_noise: Annotated[bool, Field(description="Keep noise as rows, not as counts per minute.")] = False
    retention_days: Annotated[
        int | None,
        Field(
            ge=1,
            le=MAX_RETENTION_DAYS,
            description="Days that events and metrics are kept; never longer than the platform keeps them.",
        ),
    ] = None
    baseline: BaselineShape | None = None
    never_ban: Annotated[
        list[Network], Field(max_length=LONGEST_LIST, description="Networks that no rule may ban.")
    ] = []


class ProjectRequest(BaseModel):
    """What `POST /projects` takes."""

    model_config = ConfigDict(extra="forbid")

    slug: Annotated[
        str,
        Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$", description="Short name, for good.", examples=["shop"]),
    ]
    name: ProjectName | None = None
    external_ids: ExternalIds = []
    settings: ProjectSettingsShape = ProjectSettingsShape()


class ProjectChange(BaseModel):
    """What `PATCH /projects/{project_id}` takes; absent members stay, also those inside `settings`."""

    model_config = ConfigDict(extra="forbid")

    name: ProjectName | None = None
    external_ids: ExternalIds | None = None
    settings: ProjectSettingsShape | None = None


class ProjectQuery(BaseModel):
    """Filters of `GET /projects`."""

    state: Literal["active", "archived"] = "active"


class ProjectShape(BaseModel):
    """A project."""

    id: UUID
    slug: str
    name: str
    external_ids: list[str]
    state: Literal["active", "archived"]
    settings: ProjectSettingsShape
    created_at: str
    archived_at: Annotated[str | None, Field(description="It can be restored for 30 days from then.")]
    clock_skewed_at: Annotated[
        str | None, Field(description="When an item with an unusable time last came in.")
    ]


class ProjectList(BaseModel):
    """One page of projects."""

    data: list[ProjectShape]
    pagination: Pagination


class ProjectPolicy(BaseModel):
    """What holds for all projects of the tenant."""

    model_config = ConfigDict(extra="forbid")

    auto_create_projects: Annotated[
        bool, Field(description="Clients with a key of the whole tenant make a project by naming it.")
    ]


class ProjectKeyRequest(BaseModel):
    """What `POST /projects/{project_id}/keys` takes."""

    model_config = ConfigDict(extra="forbid")

    name: KeyName
    expires_in_days: LifeDays | None = None
    ip_allow: AllowedNetworks = []


class ReadyConfigShape(BaseModel):
    """Settings of the application, ready to paste; they hold the key."""

    security_config: ShownOnce
    agent_config: ShownOnce
    environment: ShownOnce


class NewProjectKeyShape(NewKeyShape):
    """A key of an application with its text and its settings, given once."""

    config: ReadyConfigShape


def new_project_key_shape(key: ApiKey, text: str, ready: ReadyConfig, now: datetime) -> NewProjectKeyShape:
    """Return the answer that shows an application's key once."""
    config = ReadyConfigShape(
        security_config=ready.security_config,
        agent_config=ready.agent_config,
        environment=ready.environment,
    )
    return NewProjectKeyShape(**new_key_shape(key, text, now).model_dump(), config=config)


def project_shape(project: Project) -> ProjectShape:
    """Return the public form of a project."""
    return ProjectShape(
        id=project.id,
        slug=project.slug,
        name=project.name,
        external_ids=list(project.external_ids),
        state="active" if project.state == "active" else "archived",
        settings=ProjectSettingsShape(**_shown(project.settings)),
        created_at=rfc3339(project.created_at),
        archived_at=None if project.archived_at is None else rfc3339(project.archived_at),
        clock_skewed_at=None if project.skewed_at is None else rfc3339(project.skewed_at),
    )


def read_settings(given: ProjectSettingsShape, stands: ProjectSettings) -> ProjectSettings:
    """Return the settings after a change: members that were sent take the place of what stands.

    Raises:
        ValidationFailed: an entry is no network.
    """
    sent = given.model_dump(exclude_unset=True)
    if "never_ban" in sent:
        sent["never_ban"] = parse_networks(sent["never_ban"], "/settings/never_ban")
    if sent.get("baseline"):
        for name in ("ip_blacklist", "ip_whitelist"):
            place = f"/settings/baseline/{name}"
            sent["baseline"][name] = parse_networks(sent["baseline"].get(name, ()), place)
        sent["baseline"] = msgspec.convert(sent["baseline"], Baseline)
    return msgspec.structs.replace(stands, **sent)


def _shown(settings: ProjectSettings) -> dict[str, Any]:
    shown: dict[str, Any] = msgspec.to_builtins(settings)
    return shown
