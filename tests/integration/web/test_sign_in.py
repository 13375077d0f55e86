"""Signing in to the page with an identity provider, in a real browser; both are on real sockets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import pytest
from support.browser import Browser, Watched, open_browser
from support.oidc_issuer import OidcIssuer, oidc_issuer
from support.stack import Stack, StackClient


@pytest.fixture
def issuer() -> Iterator[OidcIssuer]:
    with oidc_issuer() as opened:
        yield opened


@pytest.fixture
def http(stack: Stack, issuer: OidcIssuer) -> Iterator[StackClient]:
    auth = issuer.settings(jwt_default_scopes="query,documents:read", failed_logins=1000)
    with stack.serve(auth=auth, llm={"provider": "extractive"}) as opened:
        yield opened


@pytest.fixture(scope="module")
def browser(stack: Stack) -> Iterator[Browser]:  # noqa: ARG001 (Playwright's loop must begin after the database's)
    """Start Chromium, once for all tests of the module."""
    with open_browser() as opened:
        yield opened


def url_of(http: StackClient) -> str:
    return str(http.base_url).rstrip("/")


def forgive(page: Watched, issuer: OidcIssuer) -> None:
    """Let the browser have been at the issuer."""
    page.troubles[:] = [each for each in page.troubles if issuer.url not in each]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_one_signs_in_with_the_issuer_comes_back_and_signs_out(
    browser: Browser, http: StackClient, issuer: OidcIssuer, scheme: Literal["light", "dark"]
) -> None:
    with browser.page(url_of(http), path="/#/documents?sort=title", scheme=scheme, refusals=(401,)) as page:
        link = page.tab.get_by_role("link", name="Sign in with your account")
        link.wait_for()
        assert page.seriously_wrong() == []
        link.click()
        page.tab.get_by_role("button", name="Open bread.md").wait_for()  # where one was before
        assert "#/documents?sort=title" in page.tab.url
        assert page.tab.evaluate("document.cookie") == ""  # no script sees the session
        assert page.tab.evaluate("[...Object.values(sessionStorage), ...Object.values(localStorage)].join()") == "auto"
        page.tab.goto(f"{url_of(http)}/#/")
        page.ask("When is sourdough bread baked?")
        assert "230 degrees" in page.tab.inner_text(".prose")
        page.tab.reload()
        page.tab.get_by_role("button", name="Sign out").click()
        page.tab.get_by_role("link", name="Sign in with your account").wait_for()
        assert len(issuer.signed_out) == 1
        forgive(page, issuer)


def test_a_sign_in_that_fails_is_said(browser: Browser, http: StackClient, issuer: OidcIssuer) -> None:
    issuer.faults = {"denied"}
    with browser.page(url_of(http), refusals=(401,)) as page:
        page.tab.get_by_role("link", name="Sign in with your account").click()
        page.tab.get_by_text("Nobody was signed in.").wait_for()
        assert "login=failed" not in page.tab.url
        forgive(page, issuer)
