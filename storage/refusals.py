"""What no waiting mends: errors of a connection that end a start at once, in the server's own words, with what to do.

Everything else may be a database that starts later than we do, or a failover.
"""

from __future__ import annotations

import re
import socket
import ssl

import asyncpg

_UNKNOWN_HOST = {socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)}
_NO_CA = {18, 19, 20, 21}  # X509_V_ERR_…: self-signed, or issued by nobody that we know
_EXPIRED = {10}
_WRONG_NAME = {62, 64}
_ASK_FOR_TLS = "add ?sslmode=require, or verify-full with sslrootcert=, to {setting}"
_CORRECT_NAME = (
    "correct the database's name in {setting}, or have an administrator make it: CREATE DATABASE, and behind a pooler "
    "an entry in its [databases]"
)
_CORRECT_LOGIN = "check the user and the password in {setting}, or in the file of PASSWORD_FILE"
_AUTHENTICATION = "(sasl|scram|password) authentication failed|^auth failed"
_LENT = (
    "{words}: a pooler lends sessions by the transaction, and FOOTNOTE_DATABASE__POOLER says otherwise; set it to "
    "transaction, or to auto"
)
_BY_STATE = {
    asyncpg.InvalidSQLStatementNameError: _LENT,
    asyncpg.DuplicatePreparedStatementError: _LENT,
    asyncpg.InvalidPasswordError: "the database refuses us: {words}; " + _CORRECT_LOGIN,
    asyncpg.InvalidAuthorizationSpecificationError: "the database refuses us: {words}; check the user in {setting}",
    asyncpg.InvalidCatalogNameError: "the database refuses us: {words}; " + _CORRECT_NAME,
    asyncpg.InsufficientPrivilegeError: "the database refuses us: {words}; let an administrator run GRANT CONNECT ON "
    "DATABASE",
    asyncpg.FeatureNotSupportedError: "the database's server cannot be used: {words}",
}
_BY_WORDS = {  # PgBouncer has one SQLSTATE for nearly everything, for what passes by itself, too
    _AUTHENTICATION: _CORRECT_LOGIN,
    "statement pooling mode": "Footnote needs transactions: set the pooler's pool_mode to transaction or session",
    "unsupported startup parameter": "where FOOTNOTE_DATABASE__POOLER is none, set it to auto, with which Footnote "
    "sends a pooler none; else take the parameter out of {setting}",
    '^no such database|^database ".*" does not exist': _CORRECT_NAME,
    "no such user": "correct the user in {setting}, or add it to the pooler's auth_file",
    "(ssl|tls) required|no encryption|ssl off": _ASK_FOR_TLS,
    r"pg_hba\.conf": "let an administrator add us there",
}
_NO_TLS = (
    "what answers at the address in {setting} speaks no TLS, or is no PostgreSQL: correct the address, switch TLS on "
    "there (ssl = on; PgBouncer: client_tls_sslmode), or write sslmode=disable, which sends everything readable"
)
_BY_TYPE = {
    asyncpg.ClientConfigurationError: "the database cannot be reached as {setting} says: {words}",
    asyncpg.exceptions.ProtocolError: "what answers at the address in {setting} is no PostgreSQL: {words}",
}


class ServerUnfit(asyncpg.InterfaceError):
    """The server answers, and cannot be used; the text says what to do."""


def locate(error: Exception, where: str, *, within: float) -> None:
    """Note where an error of a connection comes from, for `words`; the first one to say so knows best.

    Args:
        error: that is to be told.
        where: the setting, and the host and the port in it.
        within: seconds that the connection had.

    """
    if getattr(error, "__notes__", None):
        return
    error.add_note(f"no answer within {within:g} s ({where})" if _is_silent(error) else where)


def words(error: BaseException) -> str:
    """Return the first line of what a server or a library said, and what `locate` noted."""
    note = next(iter(getattr(error, "__notes__", ())), None)
    if note is None:
        return _said(error)
    return str(note) if _is_silent(error) else f"{_said(error)} ({note})"


def _is_silent(error: BaseException) -> bool:
    return isinstance(error, TimeoutError) and not error.args


def _said(error: BaseException) -> str:
    said = getattr(error, "verify_message", None) or getattr(error, "strerror", None) or str(error)
    return (str(said).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def is_of_password(error: BaseException) -> bool:
    """Tell whether it is the password that is refused, which may have been changed since it was read."""
    if isinstance(error, asyncpg.InvalidPasswordError):
        return True
    return isinstance(error, asyncpg.ProtocolViolationError) and bool(re.search(_AUTHENTICATION, _said(error).lower()))


def remedy(error: BaseException, *, setting: str) -> str | None:
    """Return what went wrong and what to change; None where waiting may help.

    Args:
        error: of a connection that was being opened.
        setting: that has its URL.

    """
    if isinstance(error, ServerUnfit):
        return str(error)
    if isinstance(error, asyncpg.PostgresError):
        found = _of_server(error)
    elif isinstance(error, OSError):
        found = _of_network(error)
    else:
        found = next((text for kind, text in _BY_TYPE.items() if isinstance(error, kind)), None)
    return None if found is None else found.format(words=_said(error), setting=setting)


def _of_server(error: asyncpg.PostgresError) -> str | None:
    said = _said(error).lower()
    by_words = next((what for sign, what in _BY_WORDS.items() if re.search(sign, said)), None)
    if by_words is not None:
        return "the database refuses us: {words}; " + by_words
    return next((text for kind, text in _BY_STATE.items() if isinstance(error, kind)), None)


def _of_network(error: OSError) -> str | None:
    if isinstance(error, ssl.SSLError):
        return _of_tls(error)
    if isinstance(error, socket.gaierror) and error.errno in _UNKNOWN_HOST:
        return "the database's host is not known ({words}); correct the host in {setting}"
    return _NO_TLS if "rejected SSL upgrade" in str(error) else None


def _of_tls(error: ssl.SSLError) -> str | None:
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):  # it was shut down in the middle
        return None
    if "PEM lib" in str(error):
        return "a file of sslcert or sslkey in {setting} is no PEM, or has a part only; name both, each in its own file"
    if not isinstance(error, ssl.SSLCertVerificationError):
        return "TLS with the database cannot be set up: {words}; see sslmode and the certificates in {setting}"
    what = "see sslrootcert in {setting}"
    if error.verify_code in _NO_CA:
        what = "name its CA's certificate in {setting}: sslrootcert=/path/ca.pem"
    elif error.verify_code in _EXPIRED:
        what = "it has to be renewed on the server"
    elif error.verify_code in _WRONG_NAME:
        what = "write the host in {setting} by a name that is in the certificate"
    return "the certificate of the database's server is not accepted: {words}; " + what
