"""How results are shown: `shapes` are the types of structured results, `structure` fills them, `text` writes the same
facts as short lines for a model, `markdown` writes a transcript. Pure functions; nothing here knows of MCP.
"""
