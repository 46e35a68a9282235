"""Which format a client gets: `f` before `Accept`, and refusals with a sentence."""

from __future__ import annotations

import pytest
from fastapi import Request

from server.errors import NotAcceptableError, ParameterError
from server.ogc.negotiation import DOCUMENT, choose

PICTURES = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}
CHROME = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8"


def request(accept: str | None) -> Request:
    headers = [] if accept is None else [(b"accept", accept.encode())]
    return Request({"type": "http", "headers": headers})


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        (None, "json"),
        ("", "json"),
        ("*/*", "json"),
        ("application/json", "json"),
        ("APPLICATION/JSON", "json"),
        ("text/html", "html"),
        (CHROME, "html"),
        ("text/*;q=0.5, application/json;q=0.4", "html"),
        ("text/html;q=0.4, application/json;q=0.5", "json"),
        ("application/json;q=0, */*", "html"),
        ("text/html;q=nonsense", "html"),
        ("text/html; level=1", "html"),
    ],
)
def test_documents_by_accept(accept: str | None, chosen: str) -> None:
    assert choose(request(accept), None, DOCUMENT) == chosen


def test_of_formats_liked_equally_the_one_named_wins_then_the_first() -> None:
    assert choose(request("image/avif,image/webp,image/*,*/*;q=0.8"), None, PICTURES) == "webp"
    assert choose(request("image/*"), None, PICTURES) == "png"
    assert choose(request("image/webp;q=0.5,image/*"), None, PICTURES) == "png"


@pytest.mark.parametrize(("f", "chosen"), [("jpeg", "jpeg"), ("jpg", "jpeg"), ("image/webp", "webp"), ("png", "png")])
def test_f_goes_before_accept(f: str, chosen: str) -> None:
    assert choose(request("text/html"), f, PICTURES) == chosen


@pytest.mark.parametrize("f", ["", "gif", "PNG", "html"])
def test_f_that_is_not_offered_is_refused(f: str) -> None:
    with pytest.raises(ParameterError, match="use f=png or f=jpeg"):
        choose(request("image/png"), f, PICTURES)


@pytest.mark.parametrize("accept", ["text/html", "image/gif", "image/*;q=0", "nonsense"])
def test_accept_that_rules_all_out_is_refused(accept: str) -> None:
    with pytest.raises(NotAcceptableError, match="image/png, image/jpeg, image/webp"):
        choose(request(accept), None, PICTURES)
