"""Signing in by OpenID Connect's code flow, over real HTTP, with a real database and a real identity provider."""

from __future__ import annotations

import json
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from support.oidc_issuer import CLIENT, oidc_issuer
from support.tokens import AUDIENCE

from config.settings import AuthSettings

PAGE = {"X-Footnote-Request": "page"}
QUESTION = {"question": "When is sourdough bread baked?", "k": 2}
COOKIE = "footnote-session"


@pytest.fixture
def issuer():
    with oidc_issuer() as opened:
        yield opened


@pytest.fixture
def http(stack, issuer):
    auth = issuer.settings(jwt_default_scopes="query,documents:read", failed_logins=1000)
    with stack.serve(auth=auth, llm={"provider": "extractive"}) as opened:
        yield opened


def signed_in(http):
    """Go the whole way as a browser does; return where it ends."""
    left = http.get("/login")
    assert left.status_code == 303
    came_back = httpx.get(left.headers["location"])
    assert came_back.status_code == 302
    return http.get(came_back.headers["location"])


def test_whoever_comes_back_from_the_issuer_is_signed_in(http, issuer):
    issuer.claims = {"groups": ["eng"]}
    assert http.get("/session").json() == {"login": True, "signed_in": False}
    assert http.get("/me", headers=PAGE).status_code == 401
    ended = signed_in(http)
    assert (ended.status_code, ended.headers["location"]) == (303, "/")
    assert ended.headers["cache-control"] == "no-store"
    (kept,) = [each for each in ended.headers.get_list("set-cookie") if each.startswith(f"{COOKIE}=")]
    for attribute in ("HttpOnly", "SameSite=strict", "Path=/"):
        assert attribute in kept
    assert "Max-Age" not in kept
    me = http.get("/me", headers=PAGE).json()
    assert (me["subject"], me["groups"], me["tenant"], me["key_id"]) == ("ada", ["eng"], "public", None)
    assert me["scopes"] == ["documents:read", "query"]
    assert http.get("/session", headers=PAGE).json() == {"login": True, "signed_in": True}
    assert http.post("/query", json=QUESTION, headers=PAGE).status_code == 200
    assert http.post("/documents", files={"file": b"x"}, headers=PAGE).status_code == 403
    (asked,), (form,) = issuer.asked, issuer.exchanged
    assert form["code_verifier"] not in json.dumps(asked)
    assert asked["redirect_uri"] == f"{str(http.base_url).rstrip('/')}/login/callback"


def test_an_access_token_for_this_server_brings_its_scopes(http, issuer):
    issuer.access = {"aud": AUDIENCE, "scope": "admin"}
    signed_in(http)
    assert "admin" in http.get("/me", headers=PAGE).json()["scopes"]


@pytest.mark.parametrize("access", [{"aud": "billing", "scope": "admin"}, {"sub": "boss", "scope": "admin"}], ids=str)
def test_an_access_token_for_somebody_else_is_not_used(http, issuer, access):
    issuer.access = access
    signed_in(http)
    me = http.get("/me", headers=PAGE).json()
    assert (me["subject"], me["scopes"]) == ("ada", ["documents:read", "query"])


@pytest.mark.parametrize("fault", ["state", "nonce", "audience", "denied", "iss", "no-token", "unsigned"])
def test_a_sign_in_that_is_not_right_signs_nobody_in(http, issuer, fault):
    issuer.faults = {fault}
    ended = signed_in(http)
    assert ended.headers["location"] == "/#/?login=failed"
    assert http.get("/me", headers=PAGE).status_code == 401
    assert COOKIE not in http.cookies


def test_a_code_is_of_no_use_in_another_browser_or_twice(http, issuer):
    """Nobody is signed in as somebody else by a link (login CSRF), and a code that was seen opens nothing."""
    left = http.get("/login")
    back = httpx.get(left.headers["location"]).headers["location"]
    with httpx.Client(base_url=http.base_url) as other:
        assert other.get(back).headers["location"] == "/#/?login=failed"
        other.get("/login")  # it has a state of its own
        assert other.get(back).headers["location"] == "/#/?login=failed"
        assert COOKIE not in other.cookies
    assert issuer.exchanged == []
    pending = dict(http.cookies)
    assert http.get(back).headers["location"] == "/"
    assert "footnote-login" not in http.cookies
    with httpx.Client(base_url=http.base_url, cookies=pending) as again:
        assert again.get(back).headers["location"] == "/#/?login=failed"


def test_a_cookie_is_believed_only_where_the_page_sends_it(http):
    signed_in(http)
    for headers in (
        {},  # a form of another site, in a browser that sends no more
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", **PAGE},
        {"Sec-Fetch-Site": "cross-site", **PAGE},
    ):
        assert http.get("/me", headers=headers).status_code == 401, headers
        assert http.post("/query", json=QUESTION, headers=headers).status_code == 401, headers
    own = {"Sec-Fetch-Site": "same-origin"}
    assert http.get("/me", headers=own).status_code == 200
    assert http.post("/query", json=QUESTION, headers=own).status_code == 401
    assert http.post("/query", json=QUESTION, headers=own | PAGE).status_code == 200
    assert http.get("/docs", headers={"Sec-Fetch-Site": "none"}).status_code == 200
    foreign = {"Origin": "https://attacker.example", **PAGE}
    assert http.post("/query", json=QUESTION, headers=foreign).status_code == 403
    assert (
        http.get("/me", headers={**PAGE, "Authorization": "Bearer fn_wrong"}).status_code == 401
    )  # what is sent counts


def test_an_id_token_is_good_in_a_cookie_alone(http):
    signed_in(http)
    token = http.cookies[COOKIE]
    with httpx.Client(base_url=http.base_url) as other:
        assert other.get("/me", headers={"Authorization": f"Bearer {token}"}).status_code == 401
        assert other.get("/me", headers={"X-API-Key": token}).status_code == 401


def test_signing_out_ends_the_session_here_and_with_the_issuer(http, issuer):
    signed_in(http)
    assert http.post("/logout").status_code == 400
    assert http.get("/me", headers=PAGE).status_code == 200
    told = http.post("/logout", headers=PAGE).json()
    assert http.get("/me", headers=PAGE).status_code == 401
    assert httpx.get(told["url"]).headers["location"] == f"{str(http.base_url).rstrip('/')}/"
    assert issuer.signed_out[0]["client_id"] == CLIENT


def test_a_long_token_is_kept_in_several_cookies(http, issuer):
    issuer.claims = {"groups": [f"group-{number:04}-of-many" for number in range(300)]}
    ended = signed_in(http)
    kept = [
        each for each in ended.headers.get_list("set-cookie") if each.startswith(COOKIE) and "Max-Age=0" not in each
    ]
    assert len(kept) > 1
    assert all(len(each) < 4096 for each in kept)
    assert len(http.get("/me", headers=PAGE).json()["groups"]) == 300
    issuer.claims = {}
    signed_in(http)  # a shorter one leaves nothing of it
    assert http.get("/me", headers=PAGE).json()["groups"] == []
    assert len([name for name in http.cookies if name.startswith(COOKIE)]) == 1


def test_behind_tls_cookies_are_secure_and_of_this_host_alone(stack, issuer):
    auth = issuer.settings(public_url="https://footnote.example/")
    with stack.serve(auth=auth, llm={"provider": "extractive"}) as http:
        left = http.get("/login")
        assert parse_qs(urlsplit(left.headers["location"]).query)["redirect_uri"] == [
            "https://footnote.example/login/callback"
        ]
        (kept,) = left.headers.get_list("set-cookie")
        assert kept.startswith("__Host-footnote-login=")
        assert "Secure" in kept
        assert "Domain" not in kept


def test_an_address_that_fails_too_often_has_to_wait(stack, issuer):
    with stack.serve(auth=issuer.settings(failed_logins=3), llm={"provider": "extractive"}) as http:
        issuer.faults = {"nonce"}
        for _ in range(5):
            signed_in(http)
        assert len(issuer.exchanged) == 3


def test_where_nobody_can_sign_in_there_is_no_way_to(stack, issuer):
    with stack.serve(auth=issuer.settings(login_client_id=None, login_client_secret=None)) as http:
        assert http.get("/session").json() == {"login": False, "signed_in": False}
        for path in ("/login", "/login/callback"):
            assert http.get(path).status_code == 404
        token = issuer.own.token()
        cookies = {COOKIE: token}
        with httpx.Client(base_url=http.base_url, cookies=cookies) as other:
            assert other.get("/me", headers=PAGE).status_code == 401
        assert http.get("/me", headers={"Authorization": f"Bearer {token}"}).status_code == 200


def test_an_issuer_that_is_away_is_said(stack, issuer):
    with stack.serve(auth=issuer.settings(jwt_issuer="http://127.0.0.1:9", jwt_jwks_url=f"{issuer.url}/jwks")) as http:
        assert http.get("/login").status_code in {502, 422}


def test_signing_in_needs_the_issuers_keys():
    with pytest.raises(ValueError, match="LOGIN_CLIENT_ID"):
        AuthSettings(login_client_id="x")
    with pytest.raises(ValueError, match="LOGIN_CLIENT_ID"):
        AuthSettings(login_client_id="x", jwt_issuer="https://l.example", jwt_audience="a", jwt_secret="s" * 40)
