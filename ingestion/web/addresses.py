"""Rules for addresses that may be fetched.

Names are resolved here, and the connection goes to the address that was checked (`ingestion.web.connections`), which
prevents DNS rebinding.

`httpx-secure` 2.0.0 is not sufficient: it connects to an address before it checks it, checks only one of a name's
addresses, and relies on `ipaddress.is_global`, which is true of multicast, of 6to4 and
IPv4-compatible forms of 127.0.0.1, of site-local addresses and, in some patch releases, of mapped ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from ingestion.errors import FetchRefused
from ingestion.web.urls import Target, read_host

_GLOBAL_UNICAST = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")
_NOT_PUBLIC_V4 = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8",
            "10.0.0.0/8",
            "100.64.0.0/10",
            "127.0.0.0/8",
            "169.254.0.0/16",
            "172.16.0.0/12",
            "192.0.0.0/24",
            "192.0.2.0/24",
            "192.88.99.0/24",  # relays of 6to4
            "192.168.0.0/16",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/3",  # multicast, reserved, broadcast
            "168.63.129.16/32",  # Azure's host, reachable from its machines only
        ),
    )
)
_NOT_PUBLIC_V6 = tuple(
    map(
        IPv6Network,
        (
            "2001::/23",  # Teredo, ORCHID, benchmarks
            "2001:db8::/32",
            "2002::/16",  # 6to4: an IPv4 address inside
            "3fff::/20",
        ),
    )
)
# cloud metadata services and link-local addresses: an allowed name does not permit these
_NEVER_BY_NAME = tuple(
    map(
        ip_network,
        (
            "169.254.0.0/16",
            "100.100.100.200/32",
            "168.63.129.16/32",
            "192.0.0.0/24",
            "0.0.0.0/8",
            "224.0.0.0/3",
            "fd00:ec2::254/128",
            "fe80::/10",
            "ff00::/8",
            "::/128",
        ),
    )
)


def is_public(address: str) -> bool:
    """Tell whether an address is a public unicast address.

    IPv6 addresses that embed an IPv4 address are not, since the translator decides where they lead, except for NAT64's
    well-known prefix, which IPv6-only hosts need: there the embedded address decides.
    """
    try:
        ip = ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, IPv6Address):
        if ip in _NAT64:
            return is_public(str(IPv4Address(ip.packed[-4:])))
        return (
            ip.scope_id is None and ip in _GLOBAL_UNICAST and ip.is_global and not any(ip in n for n in _NOT_PUBLIC_V6)
        )
    return ip.is_global and not any(ip in network for network in _NOT_PUBLIC_V4)


class AddressRules:
    """Allowed targets: public addresses at certain ports, and what the operator allows in addition.

    Args:
        ports: allowed ports.
        allow_private: networks (``10.1.0.0/16``), addresses and host names (``wiki.corp``, exactly as in URLs). A name
            permits private and loopback addresses, but not cloud metadata services; a network permits all of its
            addresses.

    Raises:
        ValueError: an entry is neither.

    """

    def __init__(self, *, ports: Sequence[int], allow_private: Sequence[str] = ()) -> None:
        self._ports = frozenset(ports)
        networks: list[IPv4Network | IPv6Network] = []
        names: set[str] = set()
        for entry in allow_private:
            _sort(entry, networks, names)
        self._networks = tuple(networks)
        self._names = frozenset(names)

    def check_target(self, target: Target) -> None:
        """Check the port and a literal address, without resolving a name.

        Raises:
            FetchRefused: the port, or the address that stands for the host, is not allowed.

        """
        if target.port not in self._ports:
            msg = f"port {target.port} is not fetched from; FOOTNOTE_WEB__ALLOWED_PORTS lists those that are"
            raise FetchRefused(msg)
        try:
            ip_address(target.host)
        except ValueError:
            return  # a name: checked after resolution
        self.check_addresses(target.host, [target.host])

    def check_addresses(self, host: str, addresses: Sequence[str]) -> None:
        """Check all addresses of a host.

        Raises:
            FetchRefused: one of the addresses is not allowed; the message does not reveal them.

        """
        if not addresses or not all(self._is_allowed(host, address) for address in addresses):
            msg = f"{host} is not on the public internet, and FOOTNOTE_WEB__ALLOW_PRIVATE does not allow it"
            raise FetchRefused(msg)

    def _is_allowed(self, host: str, address: str) -> bool:
        if is_public(address):
            return True
        try:
            ip = ip_address(address)
        except ValueError:
            return False
        if isinstance(ip, IPv6Address) and ip.scope_id is not None:
            return False
        if any(ip in network for network in self._networks):
            return True
        # for IPv6 a name permits only unique local and loopback addresses: others may embed an IPv4 address
        own = isinstance(ip, IPv4Address) or ip in IPv6Network("fc00::/7") or ip == IPv6Address("::1")
        return host in self._names and own and not any(ip in network for network in _NEVER_BY_NAME)


def _sort(entry: str, networks: list[IPv4Network | IPv6Network], names: set[str]) -> None:
    try:
        networks.append(ip_network(entry))
    except ValueError:
        try:
            names.add(read_host(entry))
        except FetchRefused:
            msg = f"{entry!r} is neither a network like 10.1.0.0/16, without bits of a host, nor a host name"
            raise ValueError(msg) from None
