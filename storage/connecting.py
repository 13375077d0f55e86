"""How a connection to the database is opened: to which host, with which password, past which pooler.

Several hosts are tried one by one, each for a while: one that swallows packets must not use up the time of the others.
"""

from __future__ import annotations

import asyncio
import configparser
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit, urlunsplit

import asyncpg
from asyncpg.connect_utils import SessionAttribute

from config.environment import environment
from config.secret_files import read_secret
from storage.pooler import CLIENTS, Pooler, find
from storage.refusals import ServerUnfit, is_of_password, locate, remedy

if TYPE_CHECKING:
    from config.settings import DatabaseSettings

    Session = asyncpg.Connection[asyncpg.Record]

URL, DIRECT_URL = "FOOTNOTE_DATABASE__URL", "FOOTNOTE_DATABASE__DIRECT_URL"
HOST_SECONDS = 3.0
"""For each of several hosts but the last one."""
LEAST_VERSION = 14
"""Of PostgreSQL: functions of the schema have bodies that earlier ones cannot read."""
FILES = {"sslrootcert": "the CA's certificate", "sslcert": "our certificate", "sslkey": "our key", "sslcrl": "the CRL"}
"""Of a URL. A missing one would look like a socket that is not there yet."""
KEY_FILE = ".postgresql/postgresql.key"
"""In the home directory, where libpq looks for it."""
CHECKING = 2
"""Clients by which a mode that the settings name is checked."""
NAME = {"application_name": "footnote"}
"""All that every pooler takes."""
_NEXT_HOST = (OSError, TimeoutError, asyncpg.CannotConnectNowError, asyncpg.TargetServerAttributeNotMatched)
_PICKS_AMONG_ALL = "prefer-standby"


def plain_dsn(dsn: str) -> str:
    """Return the URL with the scheme ``postgresql``, without a SQLAlchemy driver (``postgresql+asyncpg``)."""
    parts = urlsplit(dsn)
    return urlunsplit(parts._replace(scheme="postgresql")) if "+" in parts.scheme or parts.scheme == "postgres" else dsn


class Address:
    """An address of the database, and how connections to it are opened.

    Args:
        url: what the settings say, or the embedded PostgreSQL's.
        password_file: read for each connection, unless the URL has a password.
        is_direct: it is the setting ``DIRECT_URL``.

    """

    def __init__(self, url: str, *, password_file: Path | None = None, is_direct: bool = False) -> None:
        self.dsn = plain_dsn(url)
        self.setting = DIRECT_URL if is_direct else URL
        self.pooler = Pooler.NONE
        self._parts = parts = urlsplit(self.dsn)
        self._query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        self._password_file = None if parts.password else password_file
        self._hosts = _hosts(parts.netloc, self._query)
        self._service = self._query.get("service") or environment().get("PGSERVICE")

    async def connect(
        self,
        _dsn: object = None,
        *,
        timeout: float,  # noqa: ASYNC109 (asyncpg's)
        server_settings: Mapping[str, str],
        **options: Any,
    ) -> Session:
        """Open a connection, with asyncpg's options; `asyncpg.create_pool` takes this as its ``connect``.

        Poolers refuse settings that a connection starts with, or lose them. One in session mode is told of them
        afterwards; with one in transaction mode, each transaction has to begin with them.

        Raises:
            Exception: whatever asyncpg raises; `storage.refusals.remedy` tells what of it is for ever.

        """
        if self.pooler is Pooler.NONE:
            return await self._connect(timeout, {**options, "server_settings": dict(server_settings)})
        if self.pooler is Pooler.TRANSACTION:
            options["statement_cache_size"] = 0  # the next transaction's session has not prepared it
        connection = await self._connect(timeout, {**options, "server_settings": NAME})
        if self.pooler is Pooler.SESSION:
            try:
                await connection.execute(
                    "SELECT set_config(name, value, false) FROM unnest($1::text[], $2::text[]) AS s (name, value)",
                    list(server_settings),
                    list(server_settings.values()),
                )
            except BaseException:
                connection.terminate()
                raise
        return connection

    async def probe(self, timeout: float) -> Session:  # noqa: ASYNC109 (asyncpg's)
        """Open a connection that any pooler lets in, to look around."""
        return await self._connect(timeout, {"server_settings": NAME, "statement_cache_size": 0})

    @property
    def where(self) -> str:
        """The setting, and the host and the port in it: all of the URL that may be told."""
        hosts = self._parts.netloc.rpartition("@")[2] or self._query.get("host")
        if hosts is None:
            named = f"service {self._service}" if self._service else environment().get("PGHOST", "localhost")
            return f"{self.setting}, {named}"
        port = self._query.get("port") or environment().get("PGPORT", "5432")
        has_port = all(re.search(r":\d+$", host) for host in hosts.split(","))
        return f"{self.setting}, {hosts}" if has_port else f"{self.setting}, {hosts}, port {port}"

    async def _connect(self, timeout: float, options: dict[str, Any]) -> Session:  # noqa: ASYNC109
        try:
            return await self._let_in(timeout, options)
        except Exception as exc:
            locate(exc, self.where, within=timeout)
            raise

    async def _let_in(self, timeout: float, options: dict[str, Any]) -> Session:  # noqa: ASYNC109
        self._check_parameters()
        if self._service:
            options["service"] = self._service  # asyncpg looks at PGSERVICE only when it has read the file already
        if (file := self._password_file) is None:
            return await self._to_some_host(timeout, options)
        password = _password(file)
        try:
            return await self._to_some_host(timeout, options | {"password": password})
        except asyncpg.PostgresError as exc:
            if not is_of_password(exc) or (newer := _password(file)) == password:
                raise
            return await self._to_some_host(timeout, options | {"password": newer})

    async def _to_some_host(self, timeout: float, options: Mapping[str, Any]) -> Session:  # noqa: ASYNC109
        deadline = asyncio.get_running_loop().time() + timeout
        if len(self._hosts) <= 1:
            connection: Session = await asyncpg.connect(self.dsn, timeout=timeout, **options)
            return connection
        errors: list[Exception] = []
        for host, port in list(self._hosts):
            left = deadline - asyncio.get_running_loop().time()
            patience = left if len(errors) == len(self._hosts) - 1 else min(left, HOST_SECONDS)
            try:
                connection = await asyncpg.connect(
                    self.dsn, host=host, port=port, timeout=max(patience, 0.01), **options
                )
            except _NEXT_HOST as exc:
                errors.append(exc)
                continue
            self._hosts.remove((host, port))  # the next connection is tried first where this one was made
            self._hosts.insert(0, (host, port))
            return connection
        # a host that may come back stands for all
        raise next((error for error in errors if remedy(error, setting=self.setting) is None), errors[0])

    def _check_parameters(self) -> None:
        """Raise an error that says what to change, where asyncpg's would not, or where it would pass over it."""
        self._check_files()
        attributes = [each.value for each in SessionAttribute]
        chosen = self._query.get("target_session_attrs")
        if chosen is not None and chosen not in attributes:
            msg = f"target_session_attrs={chosen} is none of {', '.join(attributes)}"
            raise asyncpg.ClientConfigurationError(msg)
        certificate = self._query.get("sslcert")
        if certificate and not self._has_key(Path(certificate)):
            msg = f"sslcert={certificate} has no private key in it, and sslkey is missing: add sslkey=/path/client.key"
            raise asyncpg.ClientConfigurationError(msg)

    def _has_key(self, certificate: Path) -> bool:
        named = self._query.get("sslkey") or environment().get("PGSSLKEY") or self._query.get("sslmode") == "disable"
        return bool(named) or (Path.home() / KEY_FILE).is_file() or b"PRIVATE KEY-----" in certificate.read_bytes()

    def _check_files(self) -> None:
        for name, what in FILES.items():
            named = self._query.get(name)
            if named and not Path(named).is_file():
                msg = f"{what} cannot be read: {name}={named} is no file"
                raise asyncpg.ClientConfigurationError(msg)
        if self._service:
            file = Path(environment().get("PGSERVICEFILE") or Path.home() / ".pg_service.conf")
            services = configparser.ConfigParser(interpolation=None)
            if not services.read(file) or self._service not in services:
                msg = f"there is no service {self._service!r} in {file}"
                raise asyncpg.ClientConfigurationError(msg)


def _password(file: Path) -> str:
    try:
        return read_secret(file, "FOOTNOTE_DATABASE__PASSWORD_FILE")
    except ValueError as exc:
        raise asyncpg.ClientConfigurationError(str(exc)) from None


def _hosts(netloc: str, query: Mapping[str, str]) -> list[tuple[str, int]]:
    """Return the hosts of a URL that names several; else nothing, and asyncpg finds the one."""
    if query.get("target_session_attrs") == _PICKS_AMONG_ALL:
        return []
    named = netloc.rpartition("@")[2] or query.get("host", "")
    if "," not in named:
        return []
    ports = query.get("port", "").split(",")
    hosts = []
    for place, each in enumerate(named.split(",")):
        parts = urlsplit(f"//{each}")
        port = ports[place] if len(ports) > 1 else ports[0]
        hosts.append((parts.hostname or each, parts.port or int(port or 5432)))
    return hosts


class Ways:
    """The two ways to the database.

    Attributes:
        pooled: that most statements take.
        direct: of LISTEN, locks of a session, index builds and upgrades. It leads to a session of one's own.

    """

    def __init__(self, dsn: str, settings: DatabaseSettings) -> None:
        self._settings = settings
        file, direct_url = settings.password_file, settings.direct_url
        self.pooled = self.direct = Address(dsn, password_file=file)
        if direct_url is not None:
            self.direct = Address(direct_url.get_secret_value(), password_file=file, is_direct=True)

    @classmethod
    async def found(cls, dsn: str, settings: DatabaseSettings) -> Ways:
        """Find out what is on the way.

        Raises:
            ServerUnfit: a setting has to be changed; the text says which.
            Exception: whatever asyncpg raises when a connection cannot be opened.

        """
        ways = cls(dsn, settings)
        await ways._find(ways.pooled)
        await ways.find_direct()
        if ways.direct is not ways.pooled:
            await ways._check_same()
        return ways

    async def find_direct(self) -> None:
        """Find out what is on the direct way; see `found`."""
        await self._find(self.direct)
        if self.direct.pooler is Pooler.TRANSACTION:
            msg = (
                f"{self.direct.setting} leads to a pooler in transaction mode, where no lock and no LISTEN lasts; set "
                f"{DIRECT_URL} to PostgreSQL itself, or to a pooler in session mode"
            )
            raise ServerUnfit(msg)

    async def _find(self, address: Address) -> None:
        said = Pooler(self._settings.pooler) if self._settings.pooler != "auto" and address.setting == URL else None
        if said in {Pooler.NONE, Pooler.TRANSACTION}:
            address.pooler = said
            return
        address.pooler = await self._found(address, most=CLIENTS if said is None else CHECKING)
        if said is None:
            return
        if address.pooler is Pooler.TRANSACTION:
            msg = (
                f"FOOTNOTE_DATABASE__POOLER is session, and {URL} leads to a pooler in transaction mode; set it to "
                "transaction, or to auto"
            )
            raise ServerUnfit(msg)
        address.pooler = said

    async def _found(self, address: Address, *, most: int) -> Pooler:
        timeout = self._settings.connect_timeout
        try:
            async with asyncio.timeout(timeout):
                return await find(lambda: address.probe(timeout), most=most)
        except Exception as exc:
            if (told := remedy(exc, setting=address.setting)) is not None:
                raise ServerUnfit(told) from None
            locate(exc, address.where, within=timeout)
            raise

    async def _check_same(self) -> None:
        """Raise `ServerUnfit` where a lock that the direct way holds is free on the other one."""
        timeout, key = self._settings.connect_timeout, secrets.randbits(62)
        holder = await self.direct.probe(timeout)
        try:
            await holder.execute("SELECT pg_advisory_lock($1)", key)
            other = await self.pooled.probe(timeout)
            try:
                is_free = await other.fetchval("SELECT pg_try_advisory_xact_lock($1)", key)
            finally:
                other.terminate()
        finally:
            holder.terminate()
        if is_free:
            msg = f"{DIRECT_URL} and {URL} lead to different databases; both have to name the same one"
            raise ServerUnfit(msg)
