"""A certification authority of the test's own, and certificates that it issued, right and wrong."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme


class Certificates:
    """Certificates in files below a folder.

    Attributes:
        ca: the authority's certificate.

    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ca = trustme.CA()
        self.ca = folder / "ca.pem"
        self._ca.cert_pem.write_to_path(str(self.ca))

    def issue(self, name: str, *, expired: bool = False) -> dict[str, Path]:
        """Issue a certificate for a host; return PgBouncer's settings that name it and its key."""
        until = datetime.now(UTC) - timedelta(days=1) if expired else None
        since = datetime.now(UTC) - timedelta(days=2) if expired else None
        made = self._ca.issue_cert(name, not_before=since, not_after=until)
        key, certificate = self._folder / f"{name}.key", self._folder / f"{name}.pem"
        made.private_key_pem.write_to_path(str(key))
        certificate.write_bytes(b"".join(pem.bytes() for pem in made.cert_chain_pems))
        return {"client_tls_key_file": key, "client_tls_cert_file": certificate}
