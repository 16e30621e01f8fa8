import pytest

from guardhouse.identity.roles import SCOPES
from guardhouse.notices.kind import NoticeData, Severity
from guardhouse.notices.kinds import KINDS
from guardhouse.notices.risk_kinds import RiskBandCrossed


@pytest.mark.parametrize("kind", KINDS)
def test_every_example_is_valid_and_says_what_it_is_about(kind: str) -> None:
    model = KINDS[kind]
    notice = model.model_validate(model.example)
    assert model.kind == kind
    assert notice.subject.partition(":")[2]
    assert notice.severity in Severity
    assert model.model_validate_json(notice.model_dump_json()) == notice


@pytest.mark.parametrize("kind", KINDS)
def test_whoever_may_read_a_kind_has_a_scope_that_exists(kind: str) -> None:
    assert KINDS[kind].scope in SCOPES


def test_every_kind_with_a_name_is_listed() -> None:
    def below(model: type[NoticeData]) -> list[type[NoticeData]]:
        return [model, *(found for child in model.__subclasses__() for found in below(child))]

    assert {model for model in below(NoticeData) if "kind" in vars(model)} == set(KINDS.values())


def test_severity_follows_the_band_and_is_ordered() -> None:
    crossed = RiskBandCrossed.model_validate(RiskBandCrossed.example)
    assert crossed.severity is Severity.CRITICAL
    assert crossed.model_copy(update={"band": "medium"}).severity is Severity.HIGH
    assert sorted(Severity, key=lambda severity: severity.rank) == list(Severity)
