"""Where events are kept and numbered, and what readers hold into them: cursors and pages."""
