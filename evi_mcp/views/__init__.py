"""How what is known is shown: `shapes` are the types of structured results, `structure` fills them, `text` writes the
same facts as short lines for a model. Pure functions of a chat's record; nothing here knows of MCP.
"""
