"""What no waiting mends ends a start at once, in the server's words; TLS, hosts and passwords of all kinds."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from contextlib import asynccontextmanager, closing, contextmanager
from urllib.parse import quote, urlsplit

import asyncpg
import pytest
from support.certificates import Certificates
from support.pgbouncer import PASSWORD, start_pgbouncer
from support.sql import execute

from config.settings import DatabaseSettings
from storage import connecting, schema_version
from storage.database import Database
from storage.errors import StoreRefused, StoreUnavailable
from storage.refusals import remedy

PATIENT = 60
"""Seconds that the settings would wait; the tests' own limit is far shorter."""


@pytest.fixture
def certificates(tmp_path):
    return Certificates(tmp_path)


@contextmanager
def requiring_tls(dsn, issued, **options):
    with start_pgbouncer(
        dsn, mode="session", options={"client_tls_sslmode": "require", **issued, **options}
    ) as pgbouncer:
        yield pgbouncer


@asynccontextmanager
async def opened(url, **settings):
    chosen = DatabaseSettings(**{"url": url, "connect_timeout": PATIENT, "pool_min": 1, "pool_max": 2, **settings})
    async with asyncio.timeout(20):
        database = await Database.open(url, settings=chosen)
    try:
        await database.ping()
        yield database
    finally:
        await database.close()


async def refused(url, **settings):
    """Return what both a server and an upgrade say at once."""
    with pytest.raises(StoreRefused) as at_start:
        async with opened(url, **settings):
            pass
    chosen = DatabaseSettings(**{"url": url, "connect_timeout": PATIENT, **settings})
    with pytest.raises(StoreRefused) as at_upgrade:
        async with asyncio.timeout(20):
            await schema_version.upgrade(url, chosen)
    assert PASSWORD not in str(at_start.value)
    assert quote(PASSWORD, safe="") not in str(at_start.value)
    assert str(at_upgrade.value).partition(":")[0] == str(at_start.value).partition(":")[0]
    return str(at_start.value)


async def test_verify_full_and_require_let_in_and_say_so_to_the_server(dsn, certificates):
    with requiring_tls(dsn, certificates.issue("localhost")) as pgbouncer:
        for query in (f"?sslmode=verify-full&sslrootcert={certificates.ca}", "?sslmode=require", ""):
            url = pgbouncer.url(dsn, host="localhost", query=query)
            async with opened(url) as database, database.transaction() as connection:
                assert await connection.fetchval("SELECT 1") == 1
        assert pgbouncer.log().count("tls=TLSv1") >= 3


async def test_certificates_that_are_not_to_be_trusted(dsn, certificates, tmp_path):
    (tmp_path / "other").mkdir()
    stranger = Certificates(tmp_path / "other")
    full = f"?sslmode=verify-full&sslrootcert={certificates.ca}"
    with requiring_tls(dsn, certificates.issue("localhost")) as pgbouncer:
        said = await refused(pgbouncer.url(dsn, host="127.0.0.1", query=full))
        assert "write the host in FOOTNOTE_DATABASE__URL by a name that is in the certificate" in said
        other_ca = f"?sslmode=verify-full&sslrootcert={stranger.ca}"
        said = await refused(pgbouncer.url(dsn, host="localhost", query=other_ca))
        assert "name its CA's certificate in FOOTNOTE_DATABASE__URL: sslrootcert=" in said
        missing = f"?sslmode=verify-full&sslrootcert={tmp_path}/no-such.pem"
        said = await refused(pgbouncer.url(dsn, host="localhost", query=missing))
        assert "no-such.pem is no file" in said
        said = await refused(pgbouncer.url(dsn, host="localhost", query="?sslmode=disable"))
        assert "SSL required" in said
        assert "add ?sslmode=require" in said
    with requiring_tls(dsn, certificates.issue("localhost", expired=True)) as pgbouncer:
        said = await refused(pgbouncer.url(dsn, host="localhost", query=full))
        assert "certificate has expired; it has to be renewed on the server" in said


async def test_a_server_without_tls_where_it_is_wanted(dsn):
    with start_pgbouncer(dsn, mode="session") as pgbouncer:
        said = await refused(pgbouncer.url(dsn, query="?sslmode=require"))
    assert "at the address in FOOTNOTE_DATABASE__URL speaks no TLS" in said


async def test_names_and_passwords_that_the_server_does_not_know(dsn, postgres):
    with start_pgbouncer(dsn, mode="session") as pgbouncer:
        said = await refused(pgbouncer.url(postgres("no_such_database")))
        assert re.search("no_such_database.*does not exist.*correct the database's name", said)
        said = await refused(pgbouncer.url(dsn, password="wrong"))
        assert "check the user and the password in FOOTNOTE_DATABASE__URL" in said
        said = await refused(dsn, direct_url=pgbouncer.url(dsn, password="wrong"))
        assert "check the user and the password in FOOTNOTE_DATABASE__DIRECT_URL" in said
    assert "CREATE DATABASE" in await refused(postgres("no_such_database"))


async def test_what_is_no_postgresql():
    async def answer(reader, writer):
        await reader.read(8)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        for query in ("", "?sslmode=require"):
            assert "is no PostgreSQL" in await refused(f"postgresql://u:p@127.0.0.1:{port}/d{query}")


async def test_a_host_that_nobody_knows(monkeypatch):
    def unknown(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    said = await refused("postgresql://u:p@databse:5432/d")
    assert "Name or service not known" in said
    assert "correct the host in FOOTNOTE_DATABASE__URL" in said


async def test_a_version_that_is_too_old(dsn, monkeypatch):
    monkeypatch.setattr("storage.database.LEAST_VERSION", 99)
    with pytest.raises(StoreRefused, match=r"the database is PostgreSQL \d+\.\d+; Footnote needs 99 or newer"):
        async with opened(dsn):
            pass


@pytest.mark.parametrize(
    "passing",
    [
        socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"),
        ConnectionRefusedError(111, "Connection refused"),
        FileNotFoundError(2, "No such file or directory"),
        ssl.SSLEOFError(8, "EOF occurred in violation of protocol"),
        TimeoutError(),
        asyncpg.CannotConnectNowError("the database system is starting up"),
        asyncpg.TooManyConnectionsError("sorry, too many clients already"),
        asyncpg.ProtocolViolationError("server login has been failing, try again later (server_login_retry)"),
        asyncpg.exceptions.TargetServerAttributeNotMatched("None of the hosts match"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_may_pass_is_waited_for(passing):
    assert remedy(passing, setting="X") is None


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            'no pg_hba.conf entry for host "10.0.0.1", user "u", database "d", no encryption',
            "no encryption; add ?sslmode=require",
        ),
        ('no pg_hba.conf entry for host "10.0.0.1", user "u", database "d", SSL encryption', "administrator add us"),
        ('role "u" does not exist', "check the user in X"),
    ],
)
def test_words_of_pg_hba(error, told):
    assert told in remedy(asyncpg.InvalidAuthorizationSpecificationError(error), setting="X")


async def test_what_does_not_pass_in_time_is_told_with_the_last_reason_and_where(dsn):
    with closing(socket.create_server(("127.0.0.1", 0))) as probe:
        port = probe.getsockname()[1]
    url = f"postgresql://u:{quote(PASSWORD, safe='')}@127.0.0.1:{port}/d"
    where = rf"FOOTNOTE_DATABASE__URL, 127\.0\.0\.1:{port}\)$"
    with pytest.raises(StoreUnavailable, match=rf"not available: .*\({where}"):
        await Database.open(url, settings=DatabaseSettings(connect_timeout=0.2))
    with pytest.raises(StoreUnavailable, match=rf"not available: .*\({where}"):
        await schema_version.upgrade(url, DatabaseSettings(connect_timeout=0.2))
    direct = f"postgresql:///d?host=localhost&port={port}"
    with pytest.raises(StoreUnavailable, match=rf"\(FOOTNOTE_DATABASE__DIRECT_URL, localhost, port {port}\)$"):
        await Database.open(dsn, settings=DatabaseSettings(url=dsn, direct_url=direct, connect_timeout=2))


async def test_what_never_answers_is_told_with_its_address_and_the_time_that_it_had():
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        port = silent.getsockname()[1]
        said = rf"not available: no answer within 0\.2 s \(FOOTNOTE_DATABASE__URL, 127\.0\.0\.1:{port}\)$"
        with pytest.raises(StoreUnavailable, match=said):
            await Database.open(f"postgresql://u:p@127.0.0.1:{port}/d", settings=DatabaseSettings(connect_timeout=0.2))


async def test_a_kind_of_host_that_there_is_not_is_told_with_those_that_there_are(dsn):
    said = await refused(f"{dsn}&target_session_attrs=readwrite")
    assert "target_session_attrs=readwrite is none of any, primary, standby, prefer-standby, read-write" in said


async def test_a_certificate_of_ours_without_its_key_is_told(dsn, certificates, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    issued = certificates.issue("postgres")
    certificate, key = issued["client_tls_cert_file"], issued["client_tls_key_file"]
    with requiring_tls(dsn, certificates.issue("localhost"), client_tls_ca_file=certificates.ca) as pgbouncer:
        query = f"?sslmode=require&sslcert={certificate}"
        said = await refused(pgbouncer.url(dsn, host="localhost", query=query))
        assert "sslkey is missing: add sslkey=" in said
        said = await refused(pgbouncer.url(dsn, host="localhost", query=f"{query}&sslkey={certificates.ca}"))
        assert "sslcert or sslkey" in said
        async with opened(pgbouncer.url(dsn, host="localhost", query=f"{query}&sslkey={key}")):
            pass
        certificate.write_bytes(key.read_bytes() + certificate.read_bytes())
        async with opened(pgbouncer.url(dsn, host="localhost", query=query)):
            pass


async def test_the_first_of_several_hosts_that_takes_writes_is_used(dsn, monkeypatch):
    """One is gone, one swallows what it is sent, one cannot write; the last one does."""
    monkeypatch.setattr(connecting, "HOST_SECONDS", 0.3)
    name = urlsplit(dsn).path.removeprefix("/")
    with (
        closing(socket.create_server(("127.0.0.1", 0))) as silent,
        start_pgbouncer(dsn, mode="session") as writer,
    ):
        with closing(socket.create_server(("127.0.0.1", 0))) as probe:
            gone = probe.getsockname()[1]
        hosts = ",".join(f"127.0.0.1:{port}" for port in (gone, silent.getsockname()[1], writer.port))
        url = f"postgresql://postgres:{quote(PASSWORD, safe='')}@{hosts}/{name}?target_session_attrs=read-write"
        async with opened(url) as database:
            async with database.transaction() as connection:
                assert not await connection.fetchval("SELECT pg_is_in_recovery()")
            monkeypatch.setattr(connecting, "HOST_SECONDS", 30)  # the one that worked is asked first from now on
            async with asyncio.timeout(10), database.dedicated() as session:
                assert await session.fetchval("SELECT 1") == 1


async def test_no_host_that_takes_writes_is_waited_for(dsn):
    name = urlsplit(dsn).path.removeprefix("/")
    execute(dsn, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    socket_folder = urlsplit(dsn).query
    url = f"postgresql://postgres@/{name}?{socket_folder}&target_session_attrs=read-write"
    settings = DatabaseSettings(url=url, connect_timeout=0.5)
    with pytest.raises(StoreUnavailable, match="None of the hosts match"):
        await Database.open(url, settings=settings)


async def test_a_password_in_a_file_is_read_again_when_it_was_changed(dsn, tmp_path):
    file = tmp_path / "password"
    file.write_text(PASSWORD + "\n")
    with start_pgbouncer(dsn, mode="session") as pgbouncer:
        async with opened(pgbouncer.url(dsn, password=""), password_file=file) as database:
            pgbouncer.set_password("next")
            file.write_text("next\n")
            await database.renew()
            async with database.transaction() as connection:
                assert await connection.fetchval("SELECT 1") == 1
            file.unlink()
            await database.renew()
            with pytest.raises(StoreUnavailable):
                await database.ping()
    missing = re.sub("//.*@", "//postgres@", dsn)
    file.write_text("x")
    settings = DatabaseSettings(url=missing, password_file=file, connect_timeout=PATIENT)
    file.unlink()
    with pytest.raises(StoreRefused, match=r"PASSWORD_FILE.*is no file"):
        await Database.open(missing, settings=settings)


async def test_a_service_and_a_password_file_of_libpq(dsn, tmp_path, monkeypatch):
    services, passwords = tmp_path / "services", tmp_path / "passwords"
    monkeypatch.setenv("PGSERVICEFILE", str(services))
    monkeypatch.setenv("PGPASSFILE", str(passwords))
    with start_pgbouncer(dsn, mode="session") as pgbouncer:
        name = urlsplit(dsn).path.removeprefix("/")
        services.write_text(f"[here]\nhost=127.0.0.1\nport={pgbouncer.port}\nuser=postgres\ndbname={name}\n")
        passwords.write_text(f"127.0.0.1:{pgbouncer.port}:*:postgres:{PASSWORD}\n")
        passwords.chmod(0o600)
        async with opened("postgresql:///?service=here"):
            pass
        monkeypatch.setenv("PGSERVICE", "here")
        async with opened("postgresql://"):
            pass
    monkeypatch.setenv("PGSERVICE", "elsewhere")
    assert "no service 'elsewhere' in" in await refused("postgresql://")
