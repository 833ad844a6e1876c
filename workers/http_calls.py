"""One POST to an address that was checked, with one limit for its time and one for its size."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from orchestrator import Fatal
from workers.addresses import Address, Network, Url, resolved

if TYPE_CHECKING:
    import httpx


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. The names of `headers` are in small letters.

    Args:
        content: of a compressed one nothing is read.
        whole: it is not longer than its limit, where reading ends.
    """

    status: int
    headers: Mapping[str, str]
    content: bytes = b""
    whole: bool = True

    @property
    def encoding(self) -> str:
        """How the content is compressed; empty: it is not."""
        encoding = self.headers.get("content-encoding", "").strip()
        return "" if encoding.lower() == "identity" else encoding


async def post(
    url: Url, networks: tuple[Network, ...], body: bytes, headers: Mapping[str, str], *,
    timeout_s: float, max_bytes: int,
) -> Answer:  # fmt: skip
    """Ask the first address of the host that can be reached, among those that may be asked.

    Args:
        networks: see `addresses.resolved`.
        timeout_s: for all of it, the name too. The library's own limits start again with every byte that comes.
    Raises:
        Fatal: the host may not be asked. TimeoutError, ConnectionError: they name the place.
    """
    try:
        # Here, because the library is an extra: the agents that need it not must load without it.
        import httpx
    except ModuleNotFoundError:
        raise Fatal("httpx is not installed: pip install 'agent-orchestrator[http]'") from None
    try:
        async with asyncio.timeout(timeout_s):
            *first, last = await resolved(url, networks)
            # No proxy of the environment: it would look the name up by itself.
            tls = httpx.create_ssl_context()
            async with httpx.AsyncClient(timeout=None, trust_env=False, verify=tls) as client:
                for address in first:
                    try:
                        return await _ask(client, url, address, body, headers, max_bytes)
                    except httpx.ConnectError:  # nothing was sent
                        continue
                return await _ask(client, url, last, body, headers, max_bytes)
    except TimeoutError:
        raise TimeoutError(f"{url.place} took longer than {timeout_s:g} s") from None
    except (httpx.RequestError, OSError) as error:
        raise ConnectionError(f"{url.place}: {type(error).__name__}: {error}") from None


async def _ask(
    client: httpx.AsyncClient, url: Url, address: Address, body: bytes, headers: Mapping[str, str], max_bytes: int
) -> Answer:
    """One request. The host keeps its name: in the header, in TLS, and for the certificate."""
    named = client.build_request("POST", url.text)
    request = client.build_request(
        "POST", named.url.copy_with(host=str(address)), content=body,
        headers={**headers, "Host": named.headers["Host"]}, extensions={"sni_hostname": url.host},
    )  # fmt: skip
    reply = await client.send(request, stream=True, follow_redirects=False)
    try:
        answer = Answer(reply.status_code, dict(reply.headers))
        content = bytearray()
        if not answer.encoding:
            async for chunk in reply.aiter_raw():
                content += chunk
                if len(content) > max_bytes:
                    break
        return replace(answer, content=bytes(content), whole=len(content) <= max_bytes)
    finally:
        await reply.aclose()
