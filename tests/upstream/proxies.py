"""Proxies that open tunnels, over HTTP and over SOCKS5, to one place whatever host they are asked for."""

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from tests.listening import listening

LOGIN = ("me", "p@ss:w%rd")

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Proxy:
    """What `tunnelling` runs: what it was asked for, and all the bytes on their way to the service, as it sees them."""

    def __init__(self, target: int) -> None:
        self.address = ""
        self.target = target
        self.asked: list[str] = []
        self.logins: list[tuple[str, str] | None] = []
        self.seen = bytearray()

    async def pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        theirs = await asyncio.open_connection("127.0.0.1", self.target)

        async def copy(source: asyncio.StreamReader, to: asyncio.StreamWriter, seen: bytearray) -> None:
            try:
                while data := await source.read(65_536):
                    seen += data
                    to.write(data)
                    await to.drain()
            except OSError:
                pass
            finally:
                to.close()

        await asyncio.gather(copy(reader, theirs[1], self.seen), copy(theirs[0], writer, bytearray()))

    async def http(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        self.asked.append(head[0])
        self.seen += "\r\n".join(head).encode()
        fields = dict(line.split(": ", 1) for line in head[1:] if line)
        login = {name.lower(): value for name, value in fields.items()}.get("proxy-authorization")
        user, _, password = base64.b64decode(login.split()[1]).decode().partition(":") if login else ("", "", "")
        self.logins.append((user, password) if login else None)
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await self.pass_on(reader, writer)

    async def socks(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """RFC 1928, and RFC 1929 if a login is offered."""
        _, methods = await reader.readexactly(2)
        offered = await reader.readexactly(methods)
        if 2 in offered:
            writer.write(b"\x05\x02")
            await reader.readexactly(1)
            user = await reader.readexactly((await reader.readexactly(1))[0])
            password = await reader.readexactly((await reader.readexactly(1))[0])
            self.logins.append((user.decode(), password.decode()))
            writer.write(b"\x01\x00")
        else:
            self.logins.append(None)
            writer.write(b"\x05\x00")
        _, command, _, kind = await reader.readexactly(4)
        assert (command, kind) == (1, 3), "CONNECT to a name, which the proxy resolves"
        host = await reader.readexactly((await reader.readexactly(1))[0])
        port = int.from_bytes(await reader.readexactly(2), "big")
        self.asked.append(f"{host.decode()}:{port}")
        writer.write(b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x01")
        await self.pass_on(reader, writer)


@asynccontextmanager
async def tunnelling(
    target: int, *, socks: bool = False, context: ssl.SSLContext | None = None
) -> AsyncIterator[Proxy]:
    """Runs a proxy whose tunnels all end at this port of this machine."""
    proxy = Proxy(target)
    speak: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
    speak = proxy.socks if socks else proxy.http

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await speak(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass

    async with listening(serve, context) as proxy.address:
        yield proxy
