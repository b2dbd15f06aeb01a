"""The console script `evi-mcp`, and `python -m evi_mcp`: sets up signals and streams before it loads the rest."""

import gc
import signal

# Loading takes half a second. A Ctrl-C during it ends the process like any signal, without a traceback.
if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def main() -> None:
    """Runs the command line; see `evi_mcp.cli.main`."""
    from evi_mcp.ending import open_standard_streams

    stdout_was_open = open_standard_streams()
    gc.disable()  # what loading creates stays alive, and searching it takes a tenth of the start
    from evi_mcp.cli.main import main

    gc.enable()
    main(stdout_is_closed=not stdout_was_open)


if __name__ == "__main__":
    main()
