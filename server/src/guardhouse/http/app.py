"""Assembles the API: middleware, problems, every feature's routes. The only importer of routes."""

from typing import Final

from fastapi import APIRouter, Depends, FastAPI

from guardhouse import __version__
from guardhouse.agents import routes as agents_routes
from guardhouse.agents.import_tokens import routes as import_token_routes
from guardhouse.agents.instances import routes as instance_routes
from guardhouse.agents.projects import routes as project_routes
from guardhouse.agents.projects.secrets import routes as project_secret_routes
from guardhouse.agents.rules import routes as app_rule_routes
from guardhouse.agents.rules.history import routes as rule_history_routes
from guardhouse.anomalies.findings import routes as anomaly_routes
from guardhouse.anomalies.streams import routes as anomaly_stream_routes
from guardhouse.anomalies.tuning import routes as anomaly_config_routes
from guardhouse.detections import routes as detection_routes
from guardhouse.detections.asynchronous import routes as asynchronous_routes
from guardhouse.detections.canaries import routes as canary_routes
from guardhouse.detections.feedback import routes as feedback_routes
from guardhouse.detections.lists import routes as list_routes
from guardhouse.detections.output import routes as output_routes
from guardhouse.detections.packs import routes as pack_routes
from guardhouse.detections.policies import routes as detection_policy_routes
from guardhouse.detections.protected_texts import routes as protected_text_routes
from guardhouse.detections.records import routes as record_routes
from guardhouse.detections.tuning import routes as tuning_routes
from guardhouse.events import routes as events_routes
from guardhouse.events.hints import routes as hint_routes
from guardhouse.events.ips import routes as address_routes
from guardhouse.events.policies import routes as policy_routes
from guardhouse.events.rule_previews import routes as rule_preview_routes
from guardhouse.events.streams import routes as stream_routes
from guardhouse.foundation.resources import Resources
from guardhouse.http import contract, health, llms_txt, problem_pages, problems, reference
from guardhouse.http.accept import refuse_unacceptable
from guardhouse.http.cors import Cors
from guardhouse.http.kill_switch import KillSwitch
from guardhouse.http.memory import Memory
from guardhouse.http.middleware import Frame
from guardhouse.http.parameters import refuse_unknown_parameters
from guardhouse.http.strangers import meter_open_route
from guardhouse.identity import routes as identity_routes
from guardhouse.identity.audit_log import routes as audit_log_routes
from guardhouse.identity.clients import routes as client_routes
from guardhouse.identity.kill_switch import routes as kill_switch_routes
from guardhouse.identity.membership import routes as membership_routes
from guardhouse.identity.oauth import routes as oauth_routes
from guardhouse.identity.oidc import routes as oidc_routes
from guardhouse.identity.registration import routes as registration_routes
from guardhouse.identity.sign_in import routes as sign_in_routes
from guardhouse.identity.tenancy import routes as tenancy_routes
from guardhouse.identity.trust import routes as trust_routes
from guardhouse.ingest import routes as ingest_routes
from guardhouse.ingest.envelopes import routes as envelope_routes
from guardhouse.ingest.generic import routes as generic_routes
from guardhouse.ingest.otlp import routes as otlp_routes
from guardhouse.ingest.status import routes as status_routes
from guardhouse.ingest.unread import routes as unread_routes
from guardhouse.ledger import routes as ledger_routes
from guardhouse.live import routes as live_routes
from guardhouse.runs import routes as run_routes
from guardhouse.scores import routes as scores_routes
from guardhouse.scores.baselines import routes as baseline_routes
from guardhouse.scores.heads import routes as heads_routes
from guardhouse.scores.incidents import routes as incident_routes
from guardhouse.scores.previews import routes as previews_routes
from guardhouse.scores.recalculations import routes as recalculation_routes
from guardhouse.scores.rules import routes as rules_routes
from guardhouse.scores.verdicts import routes as verdict_routes
from guardhouse.usage import routes as usage_routes
from guardhouse.usage.admin import routes as admin_routes
from guardhouse.webhooks import routes as webhook_routes
from guardhouse.webhooks.aliases import routes as webhook_alias_routes
from guardhouse.webhooks.channels import routes as channel_routes
from guardhouse.webhooks.history import routes as webhook_history_routes

ROUTERS: Final[tuple[APIRouter, ...]] = (
    ingest_routes.router,  # first: routes are matched in order, and this is where the load is
    envelope_routes.router,
    generic_routes.router,
    otlp_routes.router,
    status_routes.router,
    detection_routes.router,
    health.router,
    identity_routes.router,
    client_routes.router,
    oauth_routes.router,
    oidc_routes.pages,
    oidc_routes.router,
    trust_routes.router,
    registration_routes.router,
    registration_routes.auth_router,
    tenancy_routes.router,
    membership_routes.router,
    sign_in_routes.router,
    sign_in_routes.doors,
    audit_log_routes.router,
    kill_switch_routes.router,
    agents_routes.router,
    import_token_routes.router,
    instance_routes.router,
    project_routes.router,
    project_secret_routes.router,
    unread_routes.router,
    app_rule_routes.doors,
    rule_preview_routes.router,
    rule_history_routes.router,  # literal paths under /rules come before {rule_id}
    app_rule_routes.router,
    events_routes.router,
    address_routes.router,
    policy_routes.router,
    stream_routes.router,
    hint_routes.router,
    recalculation_routes.router,
    previews_routes.router,
    scores_routes.router,
    baseline_routes.router,
    heads_routes.router,
    incident_routes.router,
    rules_routes.router,
    verdict_routes.router,
    anomaly_stream_routes.router,
    anomaly_config_routes.router,
    anomaly_routes.router,
    detection_policy_routes.router,
    list_routes.router,
    pack_routes.router,
    tuning_routes.router,
    feedback_routes.router,
    record_routes.router,
    asynchronous_routes.router,  # literal paths under /detect come before {detection_id}
    canary_routes.router,
    protected_text_routes.router,
    output_routes.router,
    live_routes.router,
    run_routes.router,
    ledger_routes.router,
    usage_routes.router,
    usage_routes.doors,
    admin_routes.router,
    webhook_history_routes.router,  # literal paths under /webhooks come before {webhook_id}
    webhook_routes.router,
    webhook_alias_routes.router,
    channel_routes.router,
)
OPEN_ROUTERS: Final[tuple[APIRouter, ...]] = (
    problem_pages.router,
    contract.router,
    reference.router,
    llms_txt.router,
)


def create_app(resources: Resources) -> FastAPI:
    """Return the application over opened Resources."""
    memory = Memory(resources)
    kill_switch = KillSwitch()
    app = FastAPI(
        title="Guardhouse",
        version=__version__,
        summary="The guards of APIs, hosts and AI agents report in.",
        lifespan=memory.running,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        separate_input_output_schemas=False,
        dependencies=[
            Depends(kill_switch),
            Depends(refuse_unacceptable),
            Depends(refuse_unknown_parameters),
        ],
    )
    memory.lay_out(app)
    app.state.first_checks = (
        problems.refuse_wrong_method,
        kill_switch,
    )  # ahead of caller and body, which a dependency alone is not
    problems.install(app)
    for router in ROUTERS:
        app.include_router(router)
    for router in OPEN_ROUTERS:
        app.include_router(router, dependencies=[Depends(meter_open_route)])
    if resources.settings.cors_origins:
        app.add_middleware(Cors, origins=resources.settings.cors_origins)
    app.add_middleware(Frame, resources=resources, limiter=memory.limiter, usage_log=memory.usage_log)
    return app
