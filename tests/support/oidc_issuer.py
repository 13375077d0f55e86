"""A small OpenID provider over real HTTP: discovery, keys, the code flow with PKCE, signing out.

    with oidc_issuer() as issuer:
        settings = issuer.settings()  # of the group `auth`
        ...

It lets everybody in at once as `issuer.subject`, and is strict about what it is sent. `issuer.claims` are further
claims of the tokens, and `issuer.faults` what it does wrong, by name.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from secrets import token_urlsafe
from typing import Any
from urllib.parse import parse_qs, unquote_plus, urlencode, urlsplit

from support.tokens import AUDIENCE, Issuer

CLIENT, SECRET = "footnote-page", "s3cret +/%"


@dataclass
class OidcIssuer:
    """See the module.

    Attributes:
        asked: the parameters of each request to the authorization endpoint.
        exchanged: the forms that came to the token endpoint.
        faults: ``state``, ``nonce``, ``audience``, ``denied``, ``iss``, ``no-token``, ``unsigned``.
        access: claims of an access token that is given beside the ID token; None: an opaque one.

    """

    url: str
    own: Issuer
    subject: str = "ada"
    claims: dict[str, Any] = field(default_factory=dict)
    access: dict[str, Any] | None = None
    faults: set[str] = field(default_factory=set)
    asked: list[dict[str, str]] = field(default_factory=list)
    exchanged: list[dict[str, str]] = field(default_factory=list)
    signed_out: list[dict[str, str]] = field(default_factory=list)
    codes: dict[str, dict[str, str]] = field(default_factory=dict)

    def settings(self, **further: Any) -> dict[str, Any]:
        """Return settings of the group ``auth`` that trust it."""
        return {
            "mode": "required",
            "jwt_issuer": self.url,
            "jwt_audience": AUDIENCE,
            "jwt_allow_private": "127.0.0.0/8",
            "login_client_id": CLIENT,
            "login_client_secret": SECRET,
            **further,
        }

    def configuration(self) -> dict[str, str]:
        """Return the OpenID configuration."""
        return {
            "issuer": self.url,
            "jwks_uri": f"{self.url}/jwks",
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "end_session_endpoint": f"{self.url}/end",
        }

    def authorized(self, asked: dict[str, str]) -> str:
        """Return where the browser is sent back to."""
        self.asked.append(asked)
        assert (asked["response_type"], asked["client_id"]) == ("code", CLIENT)
        assert asked["code_challenge_method"] == "S256"
        assert "openid" in asked["scope"].split()
        assert len(asked["state"]) >= 32
        code = token_urlsafe(16)
        self.codes[code] = asked
        told = {"code": code, "state": "another" if "state" in self.faults else asked["state"]}
        if "denied" in self.faults:
            told = {"error": "access_denied", "state": asked["state"]}
        if "iss" in self.faults:
            told["iss"] = "https://attacker.example"
        return f"{asked['redirect_uri']}?{urlencode(told)}"

    def exchange(self, form: dict[str, str], authorization: str) -> dict[str, str] | None:
        """Return the tokens for a code; None where it is not to be had."""
        self.exchanged.append(form)
        asked = self.codes.pop(form.get("code", ""), None)
        secret = base64.b64decode(authorization.removeprefix("Basic ")).decode().split(":")
        verifier = base64.urlsafe_b64encode(hashlib.sha256(form.get("code_verifier", "").encode()).digest()).decode()
        if (
            asked is None
            or form.get("grant_type") != "authorization_code"
            or form.get("redirect_uri") != asked["redirect_uri"]
            or verifier.rstrip("=") != asked["code_challenge"]
            or [unquote_plus(each) for each in secret] != [CLIENT, SECRET]
        ):
            return None
        if "no-token" in self.faults:
            return {}
        audience = "another" if "audience" in self.faults else CLIENT
        nonce = "another" if "nonce" in self.faults else asked["nonce"]
        told = {"aud": audience, "nonce": nonce, "sub": self.subject, "scope": None, **self.claims}
        identity = self.own.token(**told)
        if "unsigned" in self.faults:
            identity = Issuer(self.url).token(**told)
        access = "opaque" if self.access is None else self.own.token(**{"sub": self.subject, **self.access})
        return {"id_token": identity, "access_token": access, "token_type": "Bearer"}


@contextlib.contextmanager
def oidc_issuer() -> Iterator[OidcIssuer]:
    """Serve a provider until the block ends."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    url = f"http://127.0.0.1:{server.server_address[1]}"
    made = OidcIssuer(url, Issuer(url))
    server.issuer = made  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def issuer(self) -> OidcIssuer:
        found: OidcIssuer = self.server.issuer  # type: ignore[attr-defined]
        return found

    def do_GET(self) -> None:
        """Answer a browser, or a server that looks for keys."""
        parts = urlsplit(self.path)
        asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
        if parts.path == "/.well-known/openid-configuration":
            self._say(200, json.dumps(self.issuer.configuration()).encode())
        elif parts.path == "/jwks":
            self._say(200, self.issuer.own.jwks())
        elif parts.path == "/authorize":
            self._say(302, location=self.issuer.authorized(asked))
        elif parts.path == "/end":
            self.issuer.signed_out.append(asked)
            self._say(302, location=asked["post_logout_redirect_uri"])
        else:
            self._say(404)

    def do_POST(self) -> None:
        """Exchange a code."""
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        form = {name: values[0] for name, values in parse_qs(body).items()}
        told = self.issuer.exchange(form, self.headers.get("Authorization", ""))
        self._say(400 if told is None else 200, json.dumps(told or {"error": "invalid_grant"}).encode())

    def _say(self, status: int, body: bytes = b"", location: str | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", "application/json")
        if location is not None:
            self.send_header("Location", location)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (http.server's)
        """Say nothing."""
