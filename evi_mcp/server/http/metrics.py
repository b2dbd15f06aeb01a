"""Numbers for whoever watches the server, in the text format of Prometheus (version 0.0.4). No word of any chat."""

from collections import Counter
from collections.abc import Iterable

from evi_mcp import __version__
from evi_mcp.protocol.lifecycle import State
from evi_mcp.server.http.running import Running
from evi_mcp.server.http.tenants import Tenant

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def text(tenants: Iterable[Tenant], running: Running | None) -> str:
    """The numbers of these tenants, and (unless `running` is `None`) of the process."""
    lines = ["# TYPE evi_mcp_info gauge", f'evi_mcp_info{{version="{__version__}"}} 1']
    chats, waits, sessions = list[str](), list[str](), list[str]()
    for tenant in tenants:
        label = f'tenant="{tenant.name}"'
        registry = tenant.service.registry
        states = Counter(chat.state for chat in registry.chats())
        chats += [f'evi_mcp_chats{{{label},state="{state.value}"}} {states[state]}' for state in State]
        waits.append(f"evi_mcp_waits{{{label}}} {registry.waits.count}")
        sessions.append(f"evi_mcp_sessions{{{label}}} {tenant.sessions.count}")
    for name, rows in (("chats", chats), ("waits", waits), ("sessions", sessions)):
        lines += [f"# TYPE evi_mcp_{name} gauge", *rows]
    if running is not None:
        lines += [
            "# TYPE evi_mcp_streams gauge",
            f"evi_mcp_streams {running.streams}",
            "# TYPE evi_mcp_requests_running gauge",
            f"evi_mcp_requests_running {running.count}",
            "# TYPE evi_mcp_requests_total counter",
            f"evi_mcp_requests_total {running.served}",
        ]
    return "\n".join(lines) + "\n"
