"""What is changed in the code, and the way into `mutmut`; run by its path, in the copy that is to be mutated.

    python .../inside.py prepare FILE...   takes decorators off, so that `mutmut` sees what is decorated
    python .../inside.py mutmut run        is `mutmut run`, with the changes below
    python .../inside.py report            prints what became of each change, as JSON

It imports nothing of this project: the modules that the tests import are those of the copy. It reaches into `mutmut`
(3.8), which has no other way in for changes of one's own, so pyproject.toml holds its version.
"""

import json
import signal
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import libcst as cst
import libcst.matchers as m

KEPT_DECORATORS = ("staticmethod", "classmethod", "overload", "abstractmethod")
"""`mutmut` knows the first two; the others are no functions that run."""

_LOG = m.Call(func=m.Attribute(value=m.Name("_log")))
_ACTS = m.OneOf(
    m.Expr(value=m.Call()),
    m.Expr(value=m.Await()),
    m.Assign(targets=[m.AssignTarget(target=m.Attribute())]),
    m.Assign(targets=[m.AssignTarget(target=m.Subscript())]),
    m.Del(),
    m.Raise(),
)


def left_out(node: cst.BaseSmallStatement) -> Iterable[cst.CSTNode]:
    """A call that is made for what it does, a change of an object, or a `raise` does not happen."""
    if m.matches(node, _ACTS) and not m.matches(node, m.Expr(value=_LOG)):
        yield cst.Pass()


def turned_round(node: cst.If) -> Iterable[cst.CSTNode]:
    """A condition that is no comparison holds where it did not; the others `mutmut` changes itself."""
    if m.matches(node.test, m.Name() | m.Attribute() | m.Call()):
        yield node.with_changes(test=cst.UnaryOperation(operator=cst.Not(), expression=node.test))


def without_context(node: cst.With) -> Iterable[cst.CSTNode]:
    """What a lock, a limit, a shield or a timeout guards runs without it."""
    if all(item.asname is None for item in node.items):
        yield _plain(node.body)


def without_handler(node: cst.Try) -> Iterable[cst.CSTNode]:
    """An exception is not caught; what had to happen in any case does not."""
    for gone in node.handlers:
        rest = [handler for handler in node.handlers if handler is not gone]
        if rest or (node.finalbody and not node.orelse):
            yield node.with_changes(handlers=rest)
        elif not node.orelse:
            yield _plain(node.body)
    if node.finalbody:
        yield node.with_changes(finalbody=None) if node.handlers else _plain(node.body)


def _plain(body: cst.BaseSuite) -> cst.If:
    """The same statements where a compound statement stood."""
    return cst.If(test=cst.Name("True"), body=body)


def another_word(node: cst.SimpleString) -> Iterable[cst.CSTNode]:
    """A name of the wire is another; sentences are for people, and no test has to know them by heart."""
    value = node.raw_value
    if value and " " not in value and "\n" not in node.value and not node.value.endswith('"""'):
        yield node.with_changes(value=f"{node.prefix}{node.quote}XX{value}XX{node.quote}")


CHANGES: tuple[tuple[Any, Any], ...] = (
    (cst.SimpleString, another_word),
    (cst.BaseSmallStatement, left_out),
    (cst.If, turned_round),
    (cst.With, without_context),
    (cst.Try, without_handler),
)
"""Kind of node to what becomes of it, one change at a time."""


def install() -> None:
    """Puts the changes above into the table of `mutmut`, in place of what it does to strings."""
    from mutmut.mutation import mutators

    table: Any = mutators.mutation_operators
    table[:] = [row for row in table if row[1] is not mutators.operator_string] + list(CHANGES)


def quick_tests_first() -> None:
    """Has each change meet the quick tests first: most are noticed by one, and the first that fails is enough."""
    from mutmut.runners.harness import PytestRunner
    from mutmut.state import state

    options = PytestRunner._pytest_args_regular_run

    def ordered(runner: Any, tests: Iterable[str]) -> Any:
        took = state().duration_by_test
        return options(runner, sorted(tests, key=lambda test: took.get(test, 0.0)))

    PytestRunner._pytest_args_regular_run = ordered


class Undecorated(cst.CSTTransformer):
    """`@property def f` becomes `def f` and `f = property(f)`: what is decorated `mutmut` leaves alone."""

    def __init__(self) -> None:
        self._inside = 0

    def visit_FunctionDef(self, node: cst.FunctionDef) -> None:
        self._inside += 1

    def leave_FunctionDef(
        self, original_node: cst.FunctionDef, updated_node: cst.FunctionDef
    ) -> cst.FunctionDef | cst.FlattenSentinel[cst.BaseStatement]:
        self._inside -= 1
        decorators = [decorator.decorator for decorator in updated_node.decorators]
        kept = m.OneOf(*(m.Name(name) for name in KEPT_DECORATORS), m.Attribute(attr=m.Name("setter")))
        if self._inside or not decorators or any(m.matches(decorator, kept) for decorator in decorators):
            return updated_node
        value: cst.BaseExpression = updated_node.name
        for decorator in reversed(decorators):
            value = cst.Call(func=decorator, args=[cst.Arg(value)])
        named = cst.Assign(targets=[cst.AssignTarget(updated_node.name)], value=value)
        return cst.FlattenSentinel([updated_node.with_changes(decorators=[]), cst.SimpleStatementLine([named])])


def prepare(files: list[str]) -> None:
    for file in map(Path, files):
        file.write_text(cst.parse_module(file.read_text()).visit(Undecorated()).code)


def report() -> None:
    from mutmut.mutation.data import SourceFileMutationData
    from mutmut.mutation.diff_apply import get_diff_for_mutant
    from mutmut.stats import status_by_exit_code
    from mutmut.utils.file_utils import walk_mutatable_files
    from mutmut.utils.format_utils import orig_function_and_class_names_from_key

    told = []
    for path in walk_mutatable_files():
        data = SourceFileMutationData(path=path)
        data.load()
        for name, code in data.exit_code_by_key.items():
            status = status_by_exit_code[code]
            function, owner = orig_function_and_class_names_from_key(name)
            diff = get_diff_for_mutant(name, path=path).splitlines()[2:] if status == "survived" else []
            told.append(
                {
                    "path": str(path),
                    "function": f"{owner}.{function}" if owner else function,
                    "status": status,
                    "was": _on_one_line(line[1:] for line in diff if line.startswith("-")),
                    "now": _on_one_line(line[1:] for line in diff if line.startswith("+")),
                }
            )
    json.dump(told, sys.stdout)


def _on_one_line(lines: Iterable[str]) -> str:
    """The same source with single spaces, so that nobody has to count them in accepted.toml."""
    return " ".join(" ".join(lines).split())


def main(command: str, *rest: str) -> None:
    if command == "prepare":
        prepare(list(rest))
    elif command == "report":
        report()
    else:
        from mutmut.__main__ import cli

        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have it ignored; it ends the run
        install()
        quick_tests_first()
        cli(list(rest))


if __name__ == "__main__":
    main(*sys.argv[1:])
