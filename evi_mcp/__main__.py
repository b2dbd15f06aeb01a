"""`python -m evi_mcp` is the console script `evi-mcp`."""

from evi_mcp.cli.main import main

if __name__ == "__main__":
    main()
