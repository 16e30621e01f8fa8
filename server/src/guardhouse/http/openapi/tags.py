"""What the areas of the API are about, in the order in which a reader meets them."""

from typing import Final

TAGS: Final = {
    "telemetry": "The door for telemetry: events of in-app agents and of host agents, and metrics.",
    "events": "Stored events: list and show.",
    "addresses": "Addresses that misbehave in apps: abuse scores and their reasons, bans and releases.",
    "scores": "Process risk: processes, trees, scores, explanations, baselines.",
    "incidents": "Incidents of process risk: list, story, close.",
    "detections": "Verdicts on prompts and documents: is it an attempt to turn a model against its user or owner?",
    "anomalies": "Streams of records that Guardhouse learns, and what in them does not belong.",
    "policies": "What is done with judged texts: thresholds, engines, rules, lists, records; version by version.",
    "live": "What happens, as it happens: a stream of server-sent events.",
    "agents": "Enrolled hosts: keys, state, what of their streams is missing.",
    "projects": "Applications whose agents report in: settings, secrets, processes, what arrived, what was unreadable.",
    "app-rules": "Rules that running apps fetch and apply: bans, limits, switches, lock-downs.",
    "identity": "Who may enter: the caller, API keys.",
    "oauth": "OAuth2: tokens for programs, their introspection and revocation, keys and metadata.",
    "clients": "OAuth2 clients and their secrets.",
    "issuers": "External issuers whose tokens and sign-ins count.",
    "sessions": "Sign-in and sessions of people.",
    "members": "People of a tenant and their roles.",
    "tenants": "Tenants of the installation.",
    "audit": "Who did what: the chained record, and its verifier.",
    "usage": "Requests counted per key, endpoint and day; limits.",
    "admin": "Figures of the tenant for its administrators.",
    "webhooks": "Endpoints that are told what happened: signing, deliveries, replays.",
    "channels": "Alerts to chat, pagers and mail.",
    "notices": "What can happen: the catalogue of notices.",
    "platform": "The installation as a whole: the kill switch.",
    "health": "Is it alive, is it ready, which version is it.",
    "problems": "What each refusal means and how to mend it.",
}
