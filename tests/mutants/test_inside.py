"""The changes that a mutation run makes, beside those of the tool."""

from typing import Any

import pytest

cst = pytest.importorskip("libcst", reason="needs what `make mutants` installs")

from tests.mutants import inside  # noqa: E402  # after what it needs


def changed(statement: str) -> list[str]:
    """Everything that becomes of a statement, one change at a time, as source on one line."""
    module = cst.parse_module(statement)
    found = []
    for kind, change in inside.CHANGES:
        for node in _nodes(module):
            if isinstance(node, kind):
                found += [module.deep_replace(node, other).code for other in change(node)]
    return [" ".join(code.split()) for code in found]


def _nodes(node: Any) -> list[Any]:
    return [node, *(below for child in node.children for below in _nodes(child))]


@pytest.mark.parametrize(
    ("source", "becomes"),
    [
        ("os.fsync(file)\n", ["pass"]),
        ("await self._changed.notify()\n", ["pass"]),
        ("self._down_since = None\n", ["pass"]),
        ("del self._proofs[seq]\n", ["pass"]),
        ("raise NotSent()\n", ["pass"]),
        ("known = 1\n", []),
        ("_log.info(said)\n", []),
        ("if self.paused:\n    wait()\n", ["if self.paused: pass", "if not self.paused: wait()"]),
        ("with shield():\n    write()\n", ["with shield(): pass", "if True: write()"]),
        ("with open(path) as file:\n    pass\n", []),
        ("try:\n    a()\nexcept E:\n    b = 1\n", ["try: pass except E: b = 1", "if True: a()"]),
        (
            "try:\n    pass\nexcept E:\n    pass\nfinally:\n    x = 1\n",
            ["try: pass finally: x = 1", "try: pass except E: pass"],
        ),
        ("try:\n    pass\nfinally:\n    x = 1\n", ["if True: pass"]),
        ("kind = 'tool_call'\n", ["kind = 'XXtool_callXX'"]),
        ("said = 'the connection broke'\n", []),
        ('"""What it is."""\n', []),
    ],
)
def test_what_guards_or_acts_is_left_out(source: str, becomes: list[str]) -> None:
    """A sync, a notification, a shield, a limit: faults that people make are lines that are not there."""
    assert changed(source) == becomes


def test_a_decorator_is_taken_off_and_means_the_same() -> None:
    """Otherwise no property, and no context manager, would ever be changed."""
    source = (
        "from functools import cached_property, lru_cache\n"
        "class A:\n"
        "    @property\n    def one(self): return 1\n"
        "    @cached_property\n    def two(self): return 2\n"
        "    @classmethod\n    def three(cls): return 3\n"
        "@lru_cache(maxsize=4)\n"
        "def four():\n"
        "    @lru_cache\n    def inner(): return 4\n"
        "    return inner()\n"
    )
    code = cst.parse_module(source).visit(inside.Undecorated()).code
    assert code.count("@") == 2  # the class method, which the tool knows, and what is inside a function
    names: dict[str, object] = {}
    exec(code, names)
    result = eval("(A().one, A().two, A.three(), four(), four.cache_info().maxsize)", names)
    assert result == (1, 2, 3, 4, 4)
