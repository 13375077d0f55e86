"""Tokens of an identity provider: which are accepted, as whom, and what none of them achieves."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pydantic import SecretStr
from support.tokens import AUDIENCE, ISSUER, Issuer, unsigned

from config.settings import AuthSettings
from server.auth.issuer_keys import IssuerKeys
from server.auth.tokens import SharedSecret, Tokens
from server.errors import Unauthenticated
from server.principal import Principal

SECRET = "s" * 64
FOREIGN = Issuer()


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    return Issuer()


def checks(issuer: Issuer, **settings: Any) -> Tokens:
    async def load() -> bytes:
        return issuer.jwks()

    chosen = AuthSettings(jwt_issuer=ISSUER, jwt_audience=(AUDIENCE,), **settings)
    return Tokens(chosen, IssuerKeys(load, refresh=3600, cooldown=30))


async def accepted(issuer: Issuer, token: str, **settings: Any) -> Principal:
    return await checks(issuer, **settings).principal_of(token)


async def refused(issuer: Issuer, token: str, **settings: Any) -> str:
    with pytest.raises(Unauthenticated) as told:
        await checks(issuer, **settings).principal_of(token)
    return str(told.value)


@pytest.mark.parametrize("algorithm", ["RS256", "RS512", "PS256", "PS384", "ES256", "EdDSA"])
async def test_each_algorithm_is_accepted(issuer: Issuer, algorithm: str) -> None:
    who = await accepted(issuer, issuer.token(algorithm))
    assert (who.caller.tenant, who.caller.subject, who.scopes) == ("public", "ada", {"query"})


async def test_claims_say_who_it_is_by_the_paths_of_the_settings(issuer: Issuer) -> None:
    token = issuer.token(
        org={"slug": "acme"},
        email="ada@acme.example",
        realm_access={"roles": ["query", "admin", "offline_access", 7]},
        **{"https://acme.example/teams": ["eng", "eng", "staff"]},
    )
    who = await accepted(
        issuer,
        token,
        jwt_tenant_claim="org.slug",
        jwt_subject_claim="email",
        jwt_groups_claim="https://acme.example/teams",
        jwt_scopes_claim="realm_access.roles",
        jwt_default_scopes=("feedback",),
    )
    assert (who.caller.tenant, who.caller.subject, who.caller.groups) == ("acme", "ada@acme.example", ("eng", "staff"))
    assert who.scopes == {"query", "admin", "feedback"}
    assert who.caller.sees_all


@pytest.mark.parametrize(
    "claims",
    [
        {"tenant": None},
        {"tenant": "No Such"},
        {"tenant": ["acme"]},
        {"tenant": "acme\n"},
        {"sub": None},
        {"sub": ""},
        {"sub": 7},
        {"sub": "a\0b"},
        {"sub": "x" * 300},
        {"groups": {"eng": True}},
        {"groups": ["eng", 7]},
        {"groups": ["a\nb"]},
        {"groups": ["g"] * 2000},
    ],
)
async def test_claims_that_cannot_be_who_it_is_are_refused(issuer: Issuer, claims: dict[str, Any]) -> None:
    token = issuer.token(**{"tenant": "acme", **claims})
    await refused(issuer, token, jwt_tenant_claim="tenant")


@pytest.mark.parametrize(
    ("claims", "why"),
    [
        ({"exp": int(time.time()) - 60}, "expired"),
        ({"nbf": int(time.time()) + 3600}, "not valid yet"),
        ({"aud": "another"}, "audience"),
        ({"aud": None}, "lacks"),
        ({"aud": ["another", "third"]}, "audience"),
        ({"iss": "https://evil.example"}, "issuer"),
        ({"iss": ISSUER + "/"}, "issuer"),
        ({"iss": None}, "lacks"),
        ({"exp": None}, "lacks"),
        ({"exp": "tomorrow"}, "not valid"),
        ({"exp": 1e400}, "not valid"),
        ({"exp": {"at": 9}}, "not valid"),
        ({"iat": "now"}, "not valid"),
        ({"iat": int(time.time()) + 3600}, "not valid yet"),
        ({"aud": {"footnote": 1}}, "audience"),
    ],
)
async def test_a_token_that_is_not_for_here_and_now_is_refused(
    issuer: Issuer, claims: dict[str, Any], why: str
) -> None:
    assert why in await refused(issuer, issuer.token(**claims))


async def test_clocks_may_differ_by_the_leeway(issuer: Issuer) -> None:
    late = issuer.token(exp=int(time.time()) - 10, nbf=int(time.time()) + 10)
    await accepted(issuer, late, jwt_leeway=30)
    await refused(issuer, late, jwt_leeway=0)


async def test_one_audience_of_several_is_enough(issuer: Issuer) -> None:
    await accepted(issuer, issuer.token(aud=["another", AUDIENCE]))


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "nOnE", "", "HS256", "ES256K", "RS1", "dir"])
async def test_a_token_does_not_choose_how_it_is_checked(issuer: Issuer, algorithm: str) -> None:
    assert "algorithm" in await refused(issuer, unsigned({"alg": algorithm, "kid": "rsa"}, issuer.claims()))


@pytest.mark.parametrize("algorithm", [None, 7, ["RS256"], {"RS256": 1}, True])
async def test_an_algorithm_that_is_no_text_is_refused(issuer: Issuer, algorithm: object) -> None:
    await refused(issuer, unsigned({"alg": algorithm, "kid": "rsa"}, issuer.claims()))


@pytest.mark.parametrize("given", [Encoding.PEM, Encoding.DER])
async def test_a_public_key_is_no_secret(issuer: Issuer, given: Encoding) -> None:
    public = issuer.keys["rsa"].public_key().public_bytes(given, PublicFormat.SubjectPublicKeyInfo)
    head = unsigned({"alg": "HS256", "kid": "rsa"}, issuer.claims()).rpartition(".")[0]
    signature = base64.urlsafe_b64encode(hmac.new(public, head.encode(), hashlib.sha256).digest()).rstrip(b"=").decode()
    assert "algorithm" in await refused(issuer, f"{head}.{signature}")


async def test_a_key_is_for_its_own_algorithms_only(issuer: Issuer) -> None:
    assert "key" in await refused(issuer, issuer.token("RS256", kid="ec"))
    assert "key" in await refused(issuer, issuer.token("ES256", kid="ed"))
    await refused(issuer, unsigned({"alg": "EdDSA", "kid": "ed"}, issuer.claims(), bytes(64)))
    await refused(issuer, unsigned({"alg": "ES256", "kid": "ec"}, issuer.claims(), bytes(64)))


async def test_another_issuer_s_signature_is_refused(issuer: Issuer) -> None:
    for algorithm in ("RS256", "PS256", "ES256", "EdDSA"):
        assert "not valid" in await refused(issuer, FOREIGN.token(algorithm))


async def test_keys_that_a_token_brings_or_points_at_are_not_read(issuer: Issuer) -> None:
    brought = {
        "jwk": FOREIGN.jwk("rsa"),
        "jku": "https://evil.example/jwks.json",
        "x5u": "file:///etc/passwd",
        "x5c": ["MIIB"],
    }
    await refused(issuer, FOREIGN.token(headers=brought))
    await accepted(issuer, issuer.token(headers=brought))


@pytest.mark.parametrize(
    "kid", ["../../../../dev/null", "/dev/null", "rsa'--", "http://127.0.0.1/", "\0", "rsa\0", "x" * 600, "../rsa"]
)
async def test_a_key_id_is_looked_up_and_nothing_else(issuer: Issuer, kid: str) -> None:
    await refused(issuer, issuer.token(kid=kid))


@pytest.mark.parametrize("kid", [7, ["rsa"], {"a": 1}, True])
async def test_a_key_id_that_is_no_text_is_refused(issuer: Issuer, kid: object) -> None:
    await refused(issuer, unsigned({"alg": "RS256", "kid": kid}, issuer.claims()))


async def test_without_a_key_id_the_only_key_that_fits_is_taken(issuer: Issuer) -> None:
    await accepted(issuer, issuer.token(kid=None))


@pytest.mark.parametrize(
    "token",
    [
        "a.b.c",
        "..",
        "....",
        "é.é.é",
        "eyJhbGciOiJSUzI1NiJ9..",
        "." * 3,
        "e30.e30.e30",
        base64.urlsafe_b64encode(b"[" * 100_000).decode() + ".e30.",
        base64.urlsafe_b64encode(b'{"alg":"RS256","x":' + b"[" * 50_000 + b"]" * 50_000 + b"}").decode() + ".e30.",
        "\ud800.e30.",
    ],
)
async def test_what_is_no_token_is_refused_whatever_it_is(issuer: Issuer, token: str) -> None:
    await refused(issuer, token)


async def test_a_claim_set_that_is_no_object_is_refused(issuer: Issuer) -> None:
    for payload in (b"[]", b"7", b"null", b'"x"', b"\xff", b"{"):
        token = jwt.api_jws.encode(payload, issuer.keys["rsa"], algorithm="RS256", headers={"kid": "rsa"})
        await refused(issuer, token)


async def test_what_a_header_calls_critical_must_be_understood(issuer: Issuer) -> None:
    token = issuer.token(headers={"crit": ["exp2"], "exp2": 1})
    await refused(issuer, token)
    await refused(issuer, issuer.token(headers={"b64": False}))


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")  # it is what is tested
async def test_a_weak_key_of_the_issuer_is_not_used(issuer: Issuer) -> None:
    weak = Issuer(keys={**issuer.keys, "rsa": rsa.generate_private_key(public_exponent=65_537, key_size=1024)})  # noqa: S505
    assert "key" in await refused(weak, weak.token())


async def test_a_secret_is_for_the_hs_algorithms_only(issuer: Issuer) -> None:
    settings = AuthSettings(jwt_issuer=ISSUER, jwt_audience=(AUDIENCE,), jwt_secret=SecretStr(SECRET))
    tokens = Tokens(settings, SharedSecret(SECRET))
    signed = jwt.encode(issuer.claims(), SECRET, algorithm="HS512")
    assert (await tokens.principal_of(signed)).caller.subject == "ada"
    for token in (
        jwt.encode(issuer.claims(), "t" * 64, algorithm="HS256"),
        issuer.token(),
        unsigned({"alg": "none"}, issuer.claims()),
    ):
        with pytest.raises(Unauthenticated):
            await tokens.principal_of(token)


async def test_a_token_is_known_for_a_while_and_never_longer_than_it_says(issuer: Issuer) -> None:
    now = time.time()
    tokens = checks(issuer)
    tokens._clock = lambda: now
    token = issuer.token(exp=int(now) + 20)
    assert tokens.at_hand(token) is None
    who = await tokens.principal_of(token)
    assert tokens.at_hand(token) == who
    assert tokens.at_hand(token[:-1] + ("a" if token[-1] != "a" else "b")) is None
    tokens._clock = lambda: now + 21
    assert tokens.at_hand(token) is None


async def test_duplicate_claims_do_not_say_two_things(issuer: Issuer) -> None:
    twice = json.dumps(issuer.claims())[:-1] + ', "sub": "eve"}'
    token = jwt.api_jws.encode(twice.encode(), issuer.keys["rsa"], algorithm="RS256", headers={"kid": "rsa"})
    assert (await accepted(issuer, token)).caller.subject == "eve"
