"""What Celery has to be told about the server behind a URL. The URLs are the user's; kombu spells some differently."""

from __future__ import annotations

import ssl
from typing import Any
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit

from orchestrator.runtime import transport
from orchestrator.runtime.celery_defaults import RABBITMQ
from orchestrator.store.routing import is_rabbitmq


def broker_settings(url: str) -> dict[str, Any]:
    """The Celery settings for a broker: `broker_url`, its transport, and for some URLs a few more.

    `broker_transport_options`, present only for `sentinel://`, is to be laid over the other transport options.
    """
    parts = urlsplit(url)
    if is_rabbitmq(url):
        return {**RABBITMQ, "broker_url": url.partition("?")[0], **_tls_of_rabbitmq(parts)}
    settings: dict[str, Any] = {"broker_url": url, "broker_transport": f"{transport.__name__}:Transport"}
    if parts.scheme == "rediss":
        # kombu turns TLS on by the name of the transport, which broker_transport hides; options in the URL still win.
        settings["broker_use_ssl"] = {"ssl_cert_reqs": ssl.CERT_REQUIRED}
    elif parts.scheme in ("unix", "redis+socket"):
        query = dict(parse_qsl(parts.query))
        if "db" in query:
            query["virtual_host"] = query.pop("db")
        end = f"?{urlencode(query)}" if query else ""
        settings["broker_url"] = f"redis+socket://{parts.netloc}{parts.path}{end}"
    elif parts.scheme == "sentinel":
        path = [part for part in parts.path.split("/") if part]
        name = dict(parse_qsl(parts.query)).get("master_name") or path.pop(0)
        login, at, hosts = parts.netloc.rpartition("@")
        database = path[0] if path else "0"
        settings["broker_url"] = ";".join(f"sentinel://{login}{at}{host}/{database}" for host in hosts.split(","))
        settings["broker_transport"] = f"{transport.__name__}:SentinelTransport"
        settings["broker_transport_options"] = {"master_name": name}
    return settings


def _tls_of_rabbitmq(parts: SplitResult) -> dict[str, Any]:
    """The same options in the URL as for `rediss://`; py-amqp calls them by other names."""
    if parts.scheme != "amqps":
        return {}
    query = dict(parse_qsl(parts.query))
    files = {name: query[f"ssl_{name}"] for name in ("ca_certs", "certfile", "keyfile") if f"ssl_{name}" in query}
    return {"broker_use_ssl": {"cert_reqs": ssl.CERT_REQUIRED, "server_hostname": parts.hostname, **files}}
