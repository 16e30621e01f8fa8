"""Routes behind raw paths."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardhouse.analysis.abuse.route_template import MAX_LENGTH, route_of


@pytest.mark.parametrize(
    ("endpoint", "route"),
    [
        ("/", "/"),
        ("/items/17", "/items/{n}"),
        ("/items/17/parts/2?x=1#top", "/items/{n}/parts/{n}"),
        ("/u/0199a3c2-5b1e-7c44-9d2f-4f6f1f2a9b15", "/u/{uuid}"),
        ("/u/0199A3C2-5B1E-7C44-9D2F-4F6F1F2A9B15/", "/u/{uuid}/"),
        ("/f/0123456789abcdef", "/f/{hex}"),
        ("/f/0123456789abcde", "/f/0123456789abcde"),
        ("/v1/items", "/v1/items"),
        ("/items/{item_id}", "/items/{item_id}"),
        ("https://shop.example:8443/items/5?next=/x", "/items/{n}"),
        ("/go/https://else.example/7", "/go/https://else.example/{n}"),
        ("handler_name", ""),
        ("", ""),
        ("http://[::1", ""),
    ],
)
def test_examples(endpoint: str, route: str) -> None:
    assert route_of(endpoint) == route


@given(st.text(max_size=400))
def test_any_text_has_a_route_that_is_its_own(endpoint: str) -> None:
    route = route_of(endpoint)
    assert len(route) <= MAX_LENGTH
    assert not route or route.startswith("/")
    if len(route) < MAX_LENGTH:
        assert route_of(route) == route
