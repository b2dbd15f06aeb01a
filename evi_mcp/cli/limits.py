"""The limit of open files: each attached chat has a socket, and many systems start a process with 256 or 1,024."""

import contextlib

try:
    import resource
except ImportError:  # Windows, where sockets are not counted as files
    resource = None  # type: ignore[assignment]

BESIDES_CHATS = 100
"""Files that the server needs besides: streams, the audit log, REST, names that are looked up, handshakes that fail."""
_SYSTEMS_OWN = 10_240  # macOS takes no more than this for a limit that is called unlimited


def raise_open_files() -> int | None:
    """Raises the soft limit of open files to the hard one, which needs no rights; the limit then. `None`: there is
    none."""
    if resource is None:
        return None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for limit in (hard, _SYSTEMS_OWN):
        if soft != resource.RLIM_INFINITY and (limit == resource.RLIM_INFINITY or limit > soft):
            with contextlib.suppress(ValueError, OSError):
                resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
                break
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft


def chats_within(open_files: int | None, max_chats: int) -> int:
    """How many of this many chats can be attached with this limit."""
    return max_chats if open_files is None else max(0, min(max_chats, open_files - BESIDES_CHATS))
