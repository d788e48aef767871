"""Chooses the proxy for an API server: the kubeconfig's proxy-url, else the environment, by Go's rules.

client-go tools/clientcmd: proxy-url wins. golang.org/x/net/http/httpproxy: HTTPS_PROXY, HTTP_PROXY, NO_PROXY, each also
in lower case; loopback never goes through the environment's proxy. A password in a URL is sent to the proxy only.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import NoReturn
from urllib.parse import unquote, urlsplit

from forwarders.transports.proxy import Proxy
from watcher.cluster import tls
from watcher.cluster.kubeconfig import SelectedContext
from watcher.errors import KubeconfigError

_PORTS = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}


def proxy_for(
    selected: SelectedContext, host: str, port: int, *, https: bool, environment: Mapping[str, str] = os.environ
) -> Proxy | None:
    """The proxy for this server, or None. Raises KubeconfigError if it cannot be used."""
    if url := selected.text("cluster", "proxy-url"):
        refuse = partial(selected.refuse, "cluster", "proxy-url")
        return _proxy(url, f'proxy-url of cluster "{selected.cluster_name}"', selected, refuse)
    name, url = _variable(environment, "HTTPS_PROXY" if https else "HTTP_PROXY")
    if not url or not _applies(_variable(environment, "NO_PROXY")[1], host, port):
        return None
    # For Go a bare host:port is an http proxy.
    return _proxy(url if "://" in url else f"http://{url}", name, selected, partial(_refuse_variable, name))


def _refuse_variable(name: str, problem: str) -> NoReturn:
    raise KubeconfigError(f"{name} {problem}")


def _variable(environment: Mapping[str, str], name: str) -> tuple[str, str]:
    """The first spelling of a variable that has a value, and that value."""
    for spelled in (name, name.lower()):
        if value := environment.get(spelled, ""):
            return spelled, value
    return name, ""


def _proxy(url: str, source: str, selected: SelectedContext, refuse: Callable[[str], NoReturn]) -> Proxy:
    try:
        parts = urlsplit(url.strip())
        port = parts.port or _PORTS.get(parts.scheme, 0)
    except ValueError:
        refuse("is no URL of a proxy")
    shown = f"{parts.scheme}://{parts.hostname or ''}" + (f":{parts.port}" if parts.port else "")
    if parts.scheme not in _PORTS or not parts.hostname or not _printable(parts.hostname):
        refuse(f"({shown}) is no http, https or socks5 URL of a proxy")
    context = tls.proxy_context(selected) if parts.scheme == "https" else None
    login = None if parts.username is None else (unquote(parts.username), unquote(parts.password or ""))
    return Proxy(parts.hostname, port, context, login, source, socks=parts.scheme.startswith("socks"))


def _printable(host: str) -> bool:
    return host.isascii() and host.isprintable() and " " not in host


# NO_PROXY


def _applies(no_proxy: str, host: str, port: int) -> bool:
    """Whether the environment's proxy applies to this server."""
    address = _address(host)
    if host == "localhost" or (address is not None and address.is_loopback):
        return False
    return not any(_excludes(entry.strip().lower(), host.lower(), port, address) for entry in no_proxy.split(","))


Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def _excludes(entry: str, host: str, port: int, address: Address | None) -> bool:
    """Whether one entry of NO_PROXY matches: `*`, a network, an address or a domain; the last two may have a port."""
    if entry == "*":
        return True
    if "/" in entry:
        return address is not None and _in_network(address, entry)
    name, only_port = _split(entry)
    if not name or (only_port and only_port != str(port)):
        return False
    excluded = _address(name)
    if excluded is not None:
        return excluded == address
    name = name.removeprefix("*")
    # "example.com" matches itself and its subdomains, ".example.com" only subdomains.
    return host.endswith(name if name.startswith(".") else f".{name}") or host == name


def _in_network(address: Address, entry: str) -> bool:
    try:
        return address in ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return False


def _split(entry: str) -> tuple[str, str]:
    """Splits an entry of NO_PROXY into host and port. An IPv6 address has brackets only with a port."""
    if entry.startswith("["):
        name, _, port = entry[1:].partition("]")
        return name, port.removeprefix(":")
    name, colon, port = entry.rpartition(":")
    return (name, port) if colon and ":" not in name else (entry, "")


def _address(text: str) -> Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None
